// The SQL of the README's "Roles in PostgreSQL", run as it stands there on databases that give PUBLIC nothing: it is enough for all that
// migrationd does, and for nothing else.
#include <csignal>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/e2e/end_to_end.h"
#include "tests/e2e/own_cluster.h"
#include "tests/e2e/readme.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;

constexpr int kRows = 20000;

// By its words: libpqxx 6 leaves the SQLSTATE of this one out.
::testing::Matcher<std::string> IsDenied() {
  return ::testing::AnyOf(HasSubstr("permission denied"), HasSubstr("must be owner"));
}

class LeastPrivilege : public EndToEnd {
 protected:
  // The names are those of the README.
  void SetUp() override {
    control_url_ = cluster_.Database("control");
    target_url_ = cluster_.Database("main");
    control_ = std::make_unique<Sql>(control_url_);
    control_->Run("REVOKE ALL ON DATABASE control, main FROM PUBLIC");
    target().Run(
        "CREATE ROLE shop; CREATE TABLE orders (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0, status text, customer "
        "integer, customer_big bigint); CREATE TABLE customers (id bigint PRIMARY KEY); ALTER TABLE orders OWNER TO shop; "
        "ALTER TABLE customers OWNER TO shop");
    target().Run(absl::StrCat("INSERT INTO orders (id, customer) SELECT i, i FROM generate_series(1, ", kRows,
                              ") i; ANALYZE orders"));
  }
  ServerFixtureOptions WithRoles() {
    ServerFixtureOptions options = Options();
    options.control_url = cluster_.UrlAs("migrationd", "control");
    options.targets = {{"main", cluster_.UrlAs("migrator", "main")}};
    return options;
  }
  std::string ErrorAs(const std::string& role, const std::string& database, const std::string& statement) {
    return Sql(cluster_.UrlAs(role, database)).ErrorOf(statement);
  }
  // The form of a sub-batch that lanes use right now, seen by the superuser.
  ::testing::AssertionResult LanesRun(const std::string& form) {
    const bool seen = WaitUntil([&] {
      return target().Number(absl::StrCat("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE "
                                          "'migrationd/%' AND query LIKE '%",
                                          form, "%'")) > 0;
    });
    return seen ? ::testing::AssertionSuccess() : ::testing::AssertionFailure() << "no lane runs " << form;
  }
  void Ctl(const std::vector<std::string>& arguments) {
    const CommandResult result = Migrationctl(arguments);
    EXPECT_EQ(result.exit_status, 0) << result.out << result.err;
  }

  // A sql_batch with all that an operator does to it.
  void CountOrders() {
    Define("count_orders", CounterYaml({.interval = "30ms"}, "orders"));
    ASSERT_TRUE(PassesRows("count_orders", 100));
    EXPECT_TRUE(LanesRun("md_sub_batch"));
    const auto paused = Pause("count_orders", /*immediate=*/true);
    ASSERT_THAT(paused, IsOk());
    EXPECT_EQ(paused->migration().state(), v1::STATE_PAUSED);
    ASSERT_THAT(Resume("count_orders"), IsOk());
    ASSERT_TRUE(PassesRows("count_orders", RowsDone("count_orders")));
    target().Run("SELECT migration_control.freeze('a test')");
    EXPECT_TRUE(HeldBy("count_orders", v1::HOLD_KIND_FROZEN));
    target().Run("SELECT migration_control.unfreeze()");
    Hurry("count_orders");
    ASSERT_TRUE(Reaches("count_orders", v1::STATE_COMPLETED));
    EXPECT_TRUE(EachOnce(kRows, "orders"));
  }
  // One with `where` that begins anew, and to which a row is added behind its back, so that VERIFY finds it.
  void FillOrders(const std::string& form) {
    Define("fill_orders", absl::StrCat("sql_batch:\n  table: public.orders\n  where: status IS NULL\n  statement: UPDATE "
                                       "public.orders SET status = 'open' WHERE {{batch}}\n",
                                       PaceYaml({.interval = "30ms"}), kSoonRetryYaml));
    ASSERT_TRUE(PassesRows("fill_orders", 100));
    Ctl({"cancel", "fill_orders"});
    ASSERT_TRUE(Reaches("fill_orders", v1::STATE_CANCELLED));
    ASSERT_THAT(Retry("fill_orders", v1::RETRY_FROM_START), IsOk());
    ASSERT_TRUE(WaitUntil([&] { return Get("fill_orders").state() == v1::STATE_RUNNING; }));
    EXPECT_TRUE(LanesRun(form));
    target().Run("INSERT INTO orders (id, customer) VALUES (-1, -1)");
    Hurry("fill_orders");
    ASSERT_TRUE(Reaches("fill_orders", v1::STATE_COMPLETED));
    EXPECT_EQ(target().Number("SELECT count(*) FROM orders WHERE status IS DISTINCT FROM 'open'"), 0);
  }
  // With its trigger made, taken away, made again, and taken away.
  void WidenOrders() {
    Define("widen_orders", absl::StrCat("copy_columns:\n  table: public.orders\n  columns: [{from: customer, to: customer_big}]\n",
                                        PaceYaml({.interval = "30ms"}), kSoonRetryYaml));
    ASSERT_TRUE(PassesRows("widen_orders", 100));
    Ctl({"cancel", "widen_orders"});
    ASSERT_TRUE(Reaches("widen_orders", v1::STATE_CANCELLED));
    CleanUpWidened();
    ASSERT_THAT(Retry("widen_orders"), IsOk());
    ASSERT_TRUE(WaitUntil([&] { return Get("widen_orders").state() == v1::STATE_RUNNING; }));
    Hurry("widen_orders");
    ASSERT_TRUE(Reaches("widen_orders", v1::STATE_COMPLETED));
    EXPECT_EQ(target().Number("SELECT count(*) FROM orders WHERE customer_big IS DISTINCT FROM customer"), 0);
    CleanUpWidened();
  }
  void CleanUpWidened() {
    Ctl({"cleanup", "widen_orders"});
    EXPECT_TRUE(WaitUntil([&] { return target().Number("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == 0; }))
        << Get("widen_orders").ShortDebugString();
  }

  void NoRoleMayMoreThanItMust() {
    EXPECT_EQ(control_->Number("SELECT count(*) FROM pg_roles WHERE rolname ~ '^(migrat|developer)' AND (rolsuper OR rolcreaterole "
                               "OR rolcreatedb OR rolreplication OR rolbypassrls)"),
              0);
    for (const char* statement :
         {"DROP TABLE public.orders", "DELETE FROM public.orders", "INSERT INTO public.orders (id) VALUES (-9)",
          "ALTER TABLE public.orders ADD x int", "SELECT FROM public.customers", "TRUNCATE public.customers"}) {
      EXPECT_THAT(ErrorAs("migrator", "main", statement), IsDenied()) << statement;
    }
    EXPECT_NE(ErrorAs("migrationd", "control", "CREATE ROLE x"), "");
  }
  void DevelopersMayAsk() {
    target().Run(ReadmeSql("target: who only asks"));
    Sql developer(cluster_.UrlAs("developer", "main"));
    EXPECT_TRUE(developer.True("SELECT migration_control.is_completed('count_orders')"));
    EXPECT_EQ(developer.ErrorOf("SELECT migration_control.require_completed('count_orders')"), "");
    EXPECT_EQ(developer.Number("SELECT rows FROM migration_control.migration WHERE name = 'count_orders'"), kRows);
    for (const char* statement :
         {"SELECT FROM migration_control.owner", "SELECT migration_control.freeze('x')", "SELECT migration_control.unfreeze()",
          "SELECT FROM public.orders", "SELECT migration_control.refuse('count_orders', 0)"}) {
      EXPECT_THAT(developer.ErrorOf(statement), IsDenied()) << statement;
    }
  }

  void NothingStays() {
    ASSERT_THAT(server().Stop(SIGTERM), IsOk());
    target().Run(ReadmeSql("target: nothing of it stays"));
    control_->Run(ReadmeSql("control store: nothing of it stays"));
    EXPECT_EQ(control_->Number("SELECT count(*) FROM pg_roles WHERE rolname IN ('migrationd', 'migrator')"), 0);
    EXPECT_EQ(target().Number("SELECT count(*) FROM orders"), kRows + 1);
  }

  OwnCluster cluster_;
  std::unique_ptr<Sql> control_;
};

TEST_F(LeastPrivilege, WhereTheServiceMakesItsSchemasTheReadmesRolesAreEnough) {
  control_->Run(ReadmeSql("control store: the service makes and upgrades its schema"));
  target().Run(ReadmeSql("target: the service makes the schema migration_control"));
  StartServer(WithRoles());
  CountOrders();
  FillOrders("md_sub_batch");
  NoRoleMayMoreThanItMust();
  target().Run(ReadmeSql("target: copy_columns, and indexes or columns in prepare"));
  WidenOrders();
  DevelopersMayAsk();
  NothingStays();
}

TEST_F(LeastPrivilege, WhereADbaMakesTheSchemasTheReadmesGrantsAreEnough) {
  control_->Run(ReadmeSql("control store: an owner makes and upgrades the schema, the service only uses it"));
  const std::vector<std::string> upgrade = {
      MigrationdProgram(), "upgrade", "--control-url", cluster_.UrlAs("migrationd_owner", "control"), "--target", "main=" + target_url_};
  const auto upgraded = RunCommand(upgrade);
  ASSERT_THAT(upgraded, IsOk());
  ASSERT_EQ(upgraded->exit_status, 0) << upgraded->err;
  control_->Run(ReadmeSql("control store: after the first `migrationd upgrade`"));
  const auto again = RunCommand(upgrade);
  ASSERT_THAT(again, IsOk());
  ASSERT_EQ(again->exit_status, 0) << again->err;
  const auto sql = RunCommand({MigrationctlProgram(), "target-sql"});
  ASSERT_THAT(sql, IsOk());
  target().Run(sql->out);
  target().Run(ReadmeSql("target: a DBA makes the schema migration_control (migrationctl target-sql)"));

  ServerFixtureOptions options = WithRoles();
  options.more_flags.push_back("--no-auto-upgrade");
  StartServer(options);
  CountOrders();
  // Without it sub-batches take the way that needs no function of the session.
  target().Run("REVOKE TEMPORARY ON DATABASE main FROM migrator");
  FillOrders("migration_control.advance");
  NoRoleMayMoreThanItMust();
  for (const char* statement : {"DELETE FROM migration_control.owner", "SELECT migration_control.freeze('x')",
                                "UPDATE migration_control.identity SET id = id", "CREATE SCHEMA x"}) {
    EXPECT_THAT(ErrorAs("migrator", "main", statement), IsDenied()) << statement;
  }
  for (const char* statement : {"DROP TABLE migrationd.job", "DELETE FROM migrationd.event", "UPDATE migrationd.definition SET body = '{}'",
                                "UPDATE migrationd.control SET oldest_program = 9", "DELETE FROM migrationd.version",
                                "INSERT INTO migrationd.version (version, name) VALUES (99, '')", "CREATE SCHEMA x",
                                "CREATE TABLE migrationd.x ()"}) {
    EXPECT_THAT(ErrorAs("migrationd", "control", statement), IsDenied()) << statement;
  }
  EXPECT_THAT(ErrorAs("migrationd_owner", "control", "CREATE SCHEMA x"), IsDenied());
  target().Run(ReadmeSql("target: copy_columns, and indexes or columns in prepare"));
  WidenOrders();
  DevelopersMayAsk();

  // What a later step adds is the owner's, and the service may use it at once.
  Sql(cluster_.UrlAs("migrationd_owner", "control")).Run("CREATE TABLE migrationd.added (id bigint)");
  EXPECT_EQ(ErrorAs("migrationd", "control", "INSERT INTO migrationd.added VALUES (1)"), "");
  NothingStays();
}

TEST_F(LeastPrivilege, TheLastLinesOfTargetSqlAreTheReadmesGrants) {
  const auto sql = RunCommand({MigrationctlProgram(), "target-sql"});
  ASSERT_THAT(sql, IsOk());
  const std::string all = absl::StrCat(ReadmeSql("target: a DBA makes the schema migration_control (migrationctl target-sql)"),
                                       ReadmeSql("target: copy_columns, and indexes or columns in prepare"));
  std::vector<std::string> grants;
  for (absl::string_view line : absl::StrSplit(all, '\n')) {
    // Without the remark behind it.
    if (absl::StartsWith(line, "GRANT ") && absl::StrContains(line, "migration_control")) {
      grants.push_back(absl::StrCat("--   ", line.substr(0, line.find(';') + 1)));
    }
  }
  EXPECT_GE(grants.size(), 7);
  for (const std::string& grant : grants) EXPECT_THAT(sql->out, HasSubstr(grant));
}

}  // namespace
}  // namespace migrationd
