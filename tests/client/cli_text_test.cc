// What migrationctl makes of numbers, times, words and messages, without a server.
#include <sstream>

#include "client/cli/exit_status.h"
#include "client/cli/migration_text.h"
#include "client/cli/output.h"
#include "client/cli/plan_text.h"
#include "client/cli/progress_bar.h"
#include "client/cli/quantity.h"
#include "client/cli/table.h"
#include "client/cli/text.h"
#include "client/cli/watch_view.h"
#include "tests/client/fake_service.h"
#include "tests/support/status_matchers.h"
#include "yaml-cpp/yaml.h"

namespace migrationctl {
namespace {

using ::migrationcontrol::MakeMigration;
using ::migrationd::StatusIs;
using ::testing::_;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

const absl::Time kAsOf = absl::FromUnixSeconds(1700000000);

TEST(ExitStatus, EachCodeHasTheStatusOfTheManual) {
  EXPECT_EQ(ExitStatus(absl::OkStatus()), 0);
  EXPECT_EQ(ExitStatus(absl::NotFoundError("")), 3);
  EXPECT_EQ(ExitStatus(absl::UnavailableError("")), 4);
  EXPECT_EQ(ExitStatus(absl::DeadlineExceededError("")), 5);
  for (const auto code :
       {absl::StatusCode::kCancelled, absl::StatusCode::kUnknown, absl::StatusCode::kInvalidArgument,
        absl::StatusCode::kAlreadyExists, absl::StatusCode::kPermissionDenied, absl::StatusCode::kResourceExhausted,
        absl::StatusCode::kFailedPrecondition, absl::StatusCode::kAborted, absl::StatusCode::kOutOfRange,
        absl::StatusCode::kUnimplemented, absl::StatusCode::kInternal, absl::StatusCode::kDataLoss,
        absl::StatusCode::kUnauthenticated}) {
    EXPECT_EQ(ExitStatus(absl::Status(code, "")), 1) << absl::StatusCodeToString(code);
  }
}

TEST(ExitStatus, ACallWithoutAnAnswerIsUnreachable) {
  EXPECT_EQ(ExitStatus(NoAnswerIsUnavailable(absl::DeadlineExceededError(""))), 4);
  EXPECT_EQ(NoAnswerIsUnavailable(absl::AbortedError("a")), absl::AbortedError("a"));
}

TEST(Text, ControlCharactersBecomeVisible) {
  EXPECT_EQ(Printable("a\x1b[31mb\nc\td\re\x7f"), "a\\x1b[31mb\\nc\\td\\re\\x7f");
  EXPECT_EQ(Printable(std::string("\0", 1)), "\\x00");
  // C1 (a terminal may take U+009B for ESC [), and what turns the direction of text.
  EXPECT_EQ(Printable("\xc2\x9b"
                      "31m"),
            "\\u009b31m");
  EXPECT_EQ(Printable("\xe2\x80\xae"
                      "abc"),
            "\\u202e"
            "abc");
  EXPECT_EQ(PrintableLines("a\n\x1b"
                           "b\n"),
            "a\n\\x1b"
            "b\n");
}

TEST(Text, BytesThatAreNotUtf8AreEscapedAndTheRestStays) {
  EXPECT_EQ(Printable("gr\xc3\xbc\xc3\x9f dich"), "gr\xc3\xbc\xc3\x9f dich");
  EXPECT_EQ(Printable("\xff"
                      "a"),
            "\\xffa");
  EXPECT_EQ(Printable("\xc3"), "\\xc3");                             // cut off
  EXPECT_EQ(Printable("\xc0\x9b"), "\\xc0\\x9b");                    // overlong
  EXPECT_EQ(Printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");           // a surrogate
  EXPECT_EQ(Printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // beyond Unicode
}

TEST(Text, WidthCountsColumnsNotBytes) {
  EXPECT_EQ(DisplayWidth("abc"), 3u);
  EXPECT_EQ(DisplayWidth("\xc3\xbc"), 1u);
  EXPECT_EQ(DisplayWidth("u\xcc\x88"), 1u);  // u and a combining diaeresis
  EXPECT_EQ(DisplayWidth("\xe6\xbc\xa2\xe5\xad\x97"), 4u);
  EXPECT_EQ(CutToWidth("abcdef", 6), "abcdef");
  EXPECT_EQ(CutToWidth("abcdefg", 6), "abcde~");
  EXPECT_EQ(CutToWidth("\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2", 5), "\xe6\xbc\xa2\xe5\xad\x97~");
  EXPECT_EQ(PadToWidth("\xc3\xbc", 3), "\xc3\xbc  ");
}

TEST(Quantity, CountsAndShortNumbers) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1000), "1,000");
  EXPECT_EQ(FormatCount(-1234567), "-1,234,567");
  EXPECT_EQ(FormatCount(9223372036854775807), "9,223,372,036,854,775,807");
  EXPECT_EQ(FormatShort(0), "0");
  EXPECT_EQ(FormatShort(0.52), "0.5");
  EXPECT_EQ(FormatShort(42), "42");
  EXPECT_EQ(FormatShort(999.4), "999");
  EXPECT_EQ(FormatShort(999.6), "1k");
  EXPECT_EQ(FormatShort(1234), "1.2k");
  EXPECT_EQ(FormatShort(12345), "12k");
  EXPECT_EQ(FormatShort(1.2e9), "1.2G");
  EXPECT_EQ(FormatShort(1e18), "1000000T");
  EXPECT_EQ(FormatShort(std::numeric_limits<double>::quiet_NaN()), "?");
}

TEST(Quantity, PercentIsNeverShownAsDoneBeforeItIs) {
  EXPECT_EQ(FormatPercent(0.632, false), "63.2%");
  EXPECT_EQ(FormatPercent(0.99999, false), "99.9%");
  EXPECT_EQ(FormatPercent(1, false), "99.9%");
  EXPECT_EQ(FormatPercent(0.5, true), "100%");
  EXPECT_EQ(FormatPercent(0, false), "0%");
  EXPECT_EQ(FormatPercent(std::numeric_limits<double>::quiet_NaN(), false), "0%");
}

TEST(Quantity, DurationsShowTwoUnits) {
  EXPECT_EQ(HumanDuration(absl::ZeroDuration()), "0s");
  EXPECT_EQ(HumanDuration(-absl::Hours(1)), "0s");
  EXPECT_EQ(HumanDuration(absl::Microseconds(10)), "1ms");
  EXPECT_EQ(HumanDuration(absl::Milliseconds(350)), "350ms");
  EXPECT_EQ(HumanDuration(absl::Seconds(59.9)), "59s");
  EXPECT_EQ(HumanDuration(absl::Seconds(185)), "3m05s");
  EXPECT_EQ(HumanDuration(absl::Minutes(123)), "2h03m");
  EXPECT_EQ(HumanDuration(absl::Hours(102)), "4d06h");
  EXPECT_EQ(HumanDuration(absl::Hours(24 * 87)), "12w3d");
}

TEST(Quantity, DurationsAreReadAsInDefinitions) {
  EXPECT_EQ(*ParseDuration("250ms"), absl::Milliseconds(250));
  EXPECT_EQ(*ParseDuration("90s"), absl::Seconds(90));
  EXPECT_EQ(*ParseDuration("1h30m"), absl::Minutes(90));
  EXPECT_EQ(*ParseDuration("1.5h"), absl::Minutes(90));
  EXPECT_EQ(*ParseDuration("7d"), absl::Hours(168));
  EXPECT_EQ(*ParseDuration("1w"), absl::Hours(168));
  for (const char* wrong :
       {"", "1", "h", "-1h", "1h ", " 1h", "1y", "1e3s", "1..5h", "1h30", "99999999999999h", "nan"}) {
    EXPECT_THAT(ParseDuration(wrong), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("duration"))) << wrong;
  }
}

TEST(Quantity, UntilIsATimeOrADurationInTheFuture) {
  EXPECT_EQ(*ParseTimeOrDuration("2h", kAsOf), kAsOf + absl::Hours(2));
  EXPECT_EQ(*ParseTimeOrDuration("2023-11-15T00:00:00+01:00", kAsOf), absl::FromUnixSeconds(1700002800));
  EXPECT_THAT(ParseTimeOrDuration("2020-01-01T00:00:00Z", kAsOf),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("future")));
  EXPECT_THAT(ParseTimeOrDuration("infinite-past", kAsOf), StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(ParseTimeOrDuration("tomorrow", kAsOf),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("2026-11-20T22:00:00Z")));
}

TEST(ProgressBar, IsFullOnlyWhenComplete) {
  EXPECT_EQ(ProgressBar(0, false, 12), "[          ]");
  EXPECT_EQ(ProgressBar(0.5, false, 12), "[=====>    ]");
  EXPECT_EQ(ProgressBar(1, false, 12), "[=========>]");
  EXPECT_EQ(ProgressBar(2, false, 12), "[=========>]");
  EXPECT_EQ(ProgressBar(0.5, true, 12), "[==========]");
  EXPECT_EQ(ProgressBar(std::numeric_limits<double>::quiet_NaN(), false, 0), "[ ]");
}

TEST(Table, ColumnsStandBelowEachOtherInAnyScript) {
  Table table({"NAME", "REASON"});
  table.AddRow({"\xe6\xbc\xa2\xe5\xad\x97", "one"});
  table.AddRow(
      {"gr\xc3\xbc\xc3\x9f"
       "e",
       "two"});
  table.AddRow({"x", ""});
  std::ostringstream out;
  table.Print(out, {});
  EXPECT_EQ(out.str(),
            "NAME   REASON\n\xe6\xbc\xa2\xe5\xad\x97   one\ngr\xc3\xbc\xc3\x9f"
            "e  two\nx      -\n");
}

TEST(Table, CellsCannotControlTheTerminal) {
  Table table({"NAME"});
  table.AddRow({"\x1b[2J\n"});
  std::ostringstream out;
  table.Print(out, {});
  EXPECT_EQ(out.str(), "NAME\n\\x1b[2J\\n\n");
}

TEST(Table, ColoursDoNotMoveColumns) {
  Table table({"A", "B"});
  table.AddRow({Cell("x", Style::kBad), "y"});
  Terminal terminal;
  terminal.colour = true;
  std::ostringstream out;
  table.Print(out, terminal);
  EXPECT_EQ(out.str(), "A  B\n\x1b[31mx\x1b[0m  y\n");
}

TEST(Output, JsonIsWhatGrpcurlPrints) {
  v1::PauseResponse response;
  response.mutable_migration()->set_state(v1::STATE_PAUSED);
  response.mutable_migration()->set_batch_size(5);
  response.mutable_migration()->set_revision(7);
  EXPECT_EQ(ToJsonLine(response), "{\"migration\":{\"state\":\"STATE_PAUSED\",\"revision\":\"7\",\"batchSize\":5}}\n");
  EXPECT_THAT(ToJson(response), AllOf(HasSubstr("\n  \"batchSize\": 5"), EndsWith("}\n")));
  EXPECT_EQ(ToJson(v1::PauseResponse()), "{}\n");
}

TEST(Output, YamlIsTheSameDataAgain) {
  v1::ListResponse response;
  *response.add_migrations() = MakeMigration("a", v1::STATE_RUNNING);
  v1::Migration* second = response.add_migrations();
  second->set_name("true");
  second->set_summary("a: b # \"c\"\n\x1b - d \xc2\x9b");
  (*second->mutable_labels())["no"] = "1e3";
  second->add_lanes()->add_cursor("17");
  second->add_backends();
  const std::string text = ToYaml(response);
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  const YAML::Node yaml = YAML::Load(text);
  ASSERT_EQ(yaml["migrations"].size(), 2u);
  EXPECT_EQ(yaml["migrations"][0]["state"].as<std::string>(), "STATE_RUNNING");
  EXPECT_EQ(yaml["migrations"][0]["progress"]["fraction"].as<double>(), 0.632);
  const YAML::Node node = yaml["migrations"][1];
  // Quoted, so it stays a string. The tag of quoted scalars is "!".
  EXPECT_EQ(node["name"].Tag(), "!");
  EXPECT_EQ(node["summary"].as<std::string>(), second->summary());
  EXPECT_EQ(node["labels"]["no"].as<std::string>(), "1e3");
  EXPECT_EQ(node["lanes"][0]["cursor"][0].as<std::string>(), "17");
  EXPECT_TRUE(node["backends"][0].IsMap());
  EXPECT_EQ(ToYaml(v1::ListResponse()), "{}\n");
}

TEST(PlanText, SaysWhatWasFoundInLinesForAPerson) {
  v1::PlanResponse plan;
  plan.set_migration("main/backfill");
  plan.set_feasible(true);
  plan.set_table("public.orders");
  plan.add_key("id");
  plan.mutable_rows()->set_in_table(1000000);
  plan.mutable_rows()->set_to_do(500000);
  plan.mutable_rows()->set_method("SAMPLE");
  plan.set_bound_index("orders_pkey");
  plan.mutable_sample()->set_rows(100);
  plan.mutable_sample()->set_matched(60);
  plan.mutable_sample()->set_affected(60);
  plan.mutable_sample()->mutable_took()->set_nanos(2345678);
  plan.mutable_sample()->set_wal_bytes(12345);
  plan.mutable_estimated_duration()->set_seconds(90);
  plan.set_estimate("all of it");
  v1::Finding* finding = plan.add_findings();
  finding->set_severity(v1::Finding::SEVERITY_WARNING);
  finding->set_code("SEQUENTIAL_SCAN");
  finding->set_message("reads \x1b[31m all");
  v1::ExplainedStatement* statement = plan.add_statements();
  statement->set_name("work");
  statement->add_plan("Update on orders");
  statement->add_plan("  ->  Index Scan");
  EXPECT_EQ(DescribePlan(plan, Terminal()), R"(main/backfill: can be run

Table       public.orders in the order of id
Rows        500,000 to do, counted in a sample of the table; about 1,000,000 in the table
Bounds      by index orders_pkey
Sample      100 rows, 60 match `where`, 60 changed in 2.3ms, 12k bytes of write-ahead log; rolled back
Duration    about 1m30s
            all of it

WARNING  SEQUENTIAL_SCAN: reads \x1b[31m all

EXPLAIN of work
  Update on orders
    ->  Index Scan
)");
}

TEST(PlanText, OfADefinitionThatIsRefusedIsWhatWasFound) {
  v1::PlanResponse plan;
  plan.set_migration("main/backfill");
  v1::Finding* finding = plan.add_findings();
  finding->set_severity(v1::Finding::SEVERITY_ERROR);
  finding->set_code("DEFINITION_REFUSED");
  finding->set_message("There is no table");
  EXPECT_EQ(DescribePlan(plan, Terminal()), "main/backfill: will not run like this\n\nERROR    DEFINITION_REFUSED: There is no table\n");
}

TEST(MigrationText, AListRowSaysWhatTheHeaderPromises) {
  v1::Migration migration = MakeMigration("known", v1::STATE_RUNNING);
  const auto row = [&] {
    std::string joined;
    for (const Cell& cell : ListRow(migration, kAsOf + absl::Hours(5), false)) joined += cell.text + "|";
    return joined;
  };
  EXPECT_EQ(ListRow(migration, kAsOf, false).size(), ListHeader(false).size());
  EXPECT_EQ(ListRow(migration, kAsOf, true).size(), ListHeader(true).size());
  // Ages count from as_of, not from this machine's clock.
  EXPECT_EQ(row(), "known|main|RUNNING||63.2%|12k/s|1m30s|1h00m||");
  migration.mutable_hold()->set_kind(v1::HOLD_KIND_THROTTLED);
  migration.mutable_hold()->set_reason("replica lag 12s");
  migration.mutable_hold()->mutable_since()->set_seconds(1700000000 - 30);
  EXPECT_EQ(row(), "known|main|RUNNING|THROTTLED|63.2%|12k/s|1m30s|30s|replica lag 12s|");
  migration = MakeMigration("known", v1::STATE_HALTED);
  migration.mutable_halt()->set_code("ROWS_LEFT");
  migration.mutable_halt()->set_message("17 rows");
  migration.mutable_progress()->set_eta_state(v1::ETA_STATE_UNKNOWN);
  EXPECT_THAT(row(), EndsWith("|ROWS_LEFT: 17 rows|"));
}

TEST(MigrationText, ValuesOfALaterServerAreShownAsNumbers) {
  EXPECT_EQ(StateWord(static_cast<v1::State>(99)), "99");
  EXPECT_EQ(StateWord(v1::STATE_UNSPECIFIED), "-");
  EXPECT_EQ(HoldWord(static_cast<v1::HoldKind>(99)), "99");
}

TEST(MigrationText, DescribeBeginsWithTheSummaryAndHoldsNothingThatControlsATerminal) {
  v1::StatusResponse status;
  v1::Migration& migration = *status.mutable_migration();
  migration = MakeMigration("known", v1::STATE_HALTED);
  migration.set_summary("halted \x1b[31m at 63%");
  migration.mutable_halt()->set_code("ATTEMPTS_EXHAUSTED");
  migration.mutable_halt()->set_message("deadlock\x07");
  migration.mutable_intent()->set_state(v1::STATE_RUNNING);
  migration.mutable_intent()->set_actor("alice");
  migration.mutable_intent()->set_reason("go");
  migration.mutable_last_error()->set_sqlstate("40P01");
  migration.mutable_last_error()->set_message("deadlock detected");
  migration.set_attempts(3);
  migration.set_max_attempts(3);
  migration.set_hint("migrationctl retry known");
  v1::Lane* lane = migration.add_lanes();
  lane->add_cursor("632000");
  lane->add_upper_bound("1000000");
  (*migration.mutable_labels())["team"] = "ci";
  v1::Event* event = status.add_recent_events();
  event->set_kind("TRANSITION");
  event->set_from("RUNNING");
  event->set_to("HALTED");
  event->set_reason("line\nbreak");
  const std::string text = Describe(status, kAsOf + absl::Minutes(10), {});
  EXPECT_THAT(text, StartsWith("main/known: halted \\x1b[31m at 63%\n\nState        HALTED"));
  for (const char* part : {"Intent       RUNNING by alice: go", "Halt         ATTEMPTS_EXHAUSTED: deadlock\\x07",
                           "] 63.2%, 632,000 of about 1,000,000 rows", "Lanes        0: at 632000 of 1000000",
                           "Attempts     3 of 3 used", "Last error   40P01 deadlock detected", "batch 1,000",
                           "Labels       team=ci", "10m00s ago by this machine's clock",
                           "TRANSITION RUNNING -> HALTED: line\\nbreak", "\nNext: migrationctl retry known\n"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_THAT(text, Not(HasSubstr("\x07")));
}

TEST(MigrationText, ReadingsHaveTheUnitsOfTheServersReasons) {
  v1::Reading reading;
  reading.set_signal("replica_lag_bytes");
  reading.set_value(298.0 * 1024 * 1024);
  reading.set_limit(256.0 * 1024 * 1024);
  reading.set_unit("bytes");
  EXPECT_EQ(ReadingText(reading), "replica_lag_bytes 298 MiB, limit 256 MiB");
  reading.set_signal("archive_backlog");
  reading.set_value(1234);
  reading.set_limit(40);
  reading.set_unit("files");
  reading.set_detail("archive_command");
  EXPECT_EQ(ReadingText(reading), "archive_backlog 1234 files, limit 40 files (archive_command)");
}

TEST(MigrationText, ThePaceSaysWhatWasSetAndUntilWhen) {
  v1::MigrationPace pace;
  pace.set_lanes(2);
  pace.mutable_interval()->set_nanos(100'000'000);
  EXPECT_EQ(PaceText(pace, kAsOf), "2 lanes, rest of 100ms after a batch");
  pace.mutable_target_sub_batch_time()->set_nanos(250'000'000);
  pace.mutable_statement_timeout()->set_seconds(15);
  pace.mutable_lock_timeout()->set_nanos(50'000'000);
  pace.add_windows("daily 22:00-06:00");
  pace.mutable_override()->set_author("anna");
  EXPECT_EQ(PaceText(pace, kAsOf),
            "2 lanes, rest of 100ms after a batch, sub-batches of about 250ms, statements of at most 15s, waits for a lock of at most 50ms, "
            "in daily 22:00-06:00; set by anna until it is taken back");
  pace.mutable_override()->mutable_until()->set_seconds(absl::ToUnixSeconds(kAsOf) + 7200);
  EXPECT_THAT(PaceText(pace, kAsOf), EndsWith("; set by anna until 2023-11-15T00:13:20Z (in 2h00m)"));
}

v1::WatchResponse Update(const v1::Migration& migration) {
  v1::WatchResponse response;
  *response.add_migrations() = migration;
  response.mutable_as_of()->set_seconds(1700000000);
  return response;
}

TEST(WatchView, APipeGetsOneLineAChange) {
  std::ostringstream out;
  WatchView view(out);
  v1::Migration migration = MakeMigration("known", v1::STATE_RUNNING);
  view.Update(Update(migration), kAsOf, {});
  view.Update(Update(migration), kAsOf, {});
  migration.set_state(v1::STATE_PAUSED);
  migration.mutable_intent()->set_reason("lunch");
  view.Update(Update(migration), kAsOf, {});
  v1::WatchResponse gone;
  gone.add_deleted("main/known");
  view.Update(gone, kAsOf, {});
  EXPECT_EQ(out.str(),
            "2023-11-14T22:13:20Z main/known RUNNING 63.2% 12k/s\n"
            "2023-11-14T22:13:20Z main/known PAUSED 63.2% lunch\n"
            "2023-11-14T22:13:20Z main/known deleted\n");
}

TEST(WatchView, ATerminalIsRedrawnInPlaceAndNeverBeyondItsSize) {
  std::ostringstream out;
  WatchView view(out);
  Terminal terminal;
  terminal.interactive = true;
  terminal.columns = 60;
  terminal.rows = 5;
  v1::WatchResponse response;
  for (int i = 0; i < 9; ++i) *response.add_migrations() = MakeMigration("m" + std::to_string(i), v1::STATE_RUNNING);
  view.Update(response, kAsOf, terminal);
  EXPECT_THAT(out.str(), AllOf(StartsWith("\r\x1b[2Kmain/m0  RUNNING     [===="), HasSubstr("... and 6 more\n")));
  EXPECT_THAT(out.str(), Not(HasSubstr("m3")));
  out.str("");
  view.Update(v1::WatchResponse(), kAsOf, terminal);
  // Three lines and the one that counts the rest.
  EXPECT_THAT(out.str(), StartsWith("\x1b[4A"));
  std::istringstream lines(out.str());
  for (std::string line; std::getline(lines, line);) {
    const std::size_t erase = line.find("\x1b[2K");
    if (erase != std::string::npos) {
      EXPECT_LT(DisplayWidth(line.substr(erase + 4)), 60u);
    }
  }
}

}  // namespace
}  // namespace migrationctl
