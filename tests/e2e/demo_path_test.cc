// The way of scripts/demo, in small: a copy to a wider column while an application writes to the table.
#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/e2e/end_to_end.h"

namespace migrationd {
namespace {

// An application that goes on until it is destroyed, each client with a connection of its own.
class Application {
 public:
  explicit Application(std::string url) : url_(std::move(url)) {}
  ~Application() { Stop(); }

  void AddClient(std::function<std::string(int)> statement) {
    clients_.emplace_back([this, statement = std::move(statement)] {
      Sql sql(url_);
      for (int i = 1; !stop_; ++i) {
        const std::string error = sql.ErrorOf(statement(i));
        if (error.empty()) {
          ++done_;
        } else {
          ++failed_;
          ADD_FAILURE() << "the application was disturbed: " << error;
          return;
        }
      }
    });
  }
  void Stop() {
    stop_ = true;
    for (std::thread& client : clients_) {
      if (client.joinable()) client.join();
    }
  }
  int done() const { return done_; }
  int failed() const { return failed_; }

 private:
  const std::string url_;
  std::atomic<bool> stop_{false};
  std::atomic<int> done_{0};
  std::atomic<int> failed_{0};
  std::vector<std::thread> clients_;
};

class DemoPath : public EndToEnd {};

TEST_F(DemoPath, EveryRowIsCopiedWhileAnApplicationInsertsAndUpdates) {
  constexpr int kRows = 20000;
  target().Run(absl::StrCat(
      "CREATE TABLE accounts (aid integer PRIMARY KEY, code integer NOT NULL, aid_big bigint, code_big bigint);"
      "INSERT INTO accounts (aid, code) SELECT i * 10, i FROM generate_series(1, ",
      kRows, ") i; ANALYZE accounts"));
  StartServer();
  const std::string wrong =
      "SELECT count(*) FROM accounts WHERE aid_big IS DISTINCT FROM aid OR code_big IS DISTINCT FROM code";
  {
    Application application(target_url_);
    // Between the rows that are there (before and behind the cursor), and above all of them.
    application.AddClient([](int i) {
      return absl::StrCat("INSERT INTO accounts (aid, code) VALUES (", (i * 7919 % kRows) * 10 + 1 + i / kRows, ", ", i,
                          ")");
    });
    application.AddClient(
        [](int i) { return absl::StrCat("INSERT INTO accounts (aid, code) VALUES (", kRows * 10 + i, ", ", -i, ")"); });
    application.AddClient([](int i) {
      return absl::StrCat("UPDATE accounts SET code = code + 1 WHERE aid = ", (i * 104729 % kRows + 1) * 10);
    });
    ASSERT_TRUE(WaitUntil([&] { return application.done() > 100 || application.failed() > 0; }));

    Define("widen_accounts", absl::StrCat("copy_columns:\n"
                                          "  table: accounts\n"
                                          "  columns: [{from: aid, to: aid_big}, {from: code, to: code_big}]\n",
                                          PaceYaml({.batch_size = 500, .sub_batch_size = 100, .interval = "5ms"})));
    ASSERT_TRUE(WaitUntil([&] { return RowsDone("widen_accounts") > 0; }, kPatience));
    EXPECT_EQ(target().Text("SELECT migration_control.is_completed('widen_accounts')"), "f");
    EXPECT_THAT(target().ErrorOf("SELECT migration_control.require_completed('widen_accounts')"),
                ::testing::HasSubstr("MD005"));

    const CommandResult waited =
        Migrationctl({"wait", "widen_accounts", "--for", "completed", "--timeout", "2m"}, absl::Seconds(150));
    ASSERT_EQ(waited.exit_status, 0) << waited.out << waited.err;
    application.Stop();
    EXPECT_EQ(application.failed(), 0);
  }
  EXPECT_EQ(target().Number(wrong), 0) << "rows differ";
  EXPECT_GT(target().Number("SELECT count(*) FROM accounts"), kRows);

  // The target itself says so, with nobody's help.
  EXPECT_EQ(target().Text("SELECT migration_control.is_completed('widen_accounts')"), "t");
  EXPECT_EQ(target().ErrorOf("SELECT migration_control.require_completed('widen_accounts')"), "");
  EXPECT_TRUE(
      target().True("SELECT completed_at IS NOT NULL AND rows > 0 AND epoch > 0 FROM migration_control.migration WHERE "
                    "name = 'widen_accounts'"));

  // The trigger keeps both sides equal until Cleanup, and is gone after it.
  const std::string triggers =
      "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'accounts'::regclass AND NOT tgisinternal";
  EXPECT_GE(target().Number(triggers), 1);
  target().Run("UPDATE accounts SET code = code - 7 WHERE aid = 10; INSERT INTO accounts (aid, code) VALUES (-5, 5)");
  EXPECT_EQ(target().Number(wrong), 0) << "rows differ after completion";
  const CommandResult cleanup = Migrationctl({"cleanup", "widen_accounts"});
  EXPECT_EQ(cleanup.exit_status, 0) << cleanup.err;
  EXPECT_TRUE(WaitUntil([&] { return target().Number(triggers) == 0; })) << "the trigger is still there";
  target().Run("INSERT INTO accounts (aid, code) VALUES (-6, 6)");
  EXPECT_EQ(target().Number(wrong), 1) << "without the trigger nothing is copied any more";
}

}  // namespace
}  // namespace migrationd
