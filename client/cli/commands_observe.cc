// list, status, jobs, events, show: one question, one answer.
#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "client/cli/command.h"
#include "client/cli/migration_text.h"
#include "client/cli/quantity.h"
#include "client/cli/table.h"
#include "client/cli/text.h"

namespace migrationctl {
namespace {

constexpr int kLargestPage = 1000;

struct ListArguments {
  std::vector<std::string> states;
  std::string prefix;
  std::string order;
};

// All pages as one response.
absl::StatusOr<v1::ListResponse> ListAll(Session& session, v1::ListRequest request) {
  v1::ListResponse all;
  request.set_page_size(kLargestPage);
  while (true) {
    absl::StatusOr<v1::ListResponse> page = session.client().List(request);
    if (!page.ok()) return session.Explain(page.status());
    const std::string token = page->next_page_token();
    page->clear_next_page_token();
    // Freezes and problems come with every page; they are kept once.
    if (!request.page_token().empty()) {
      page->clear_freezes();
      page->clear_catalog_problems();
    }
    all.MergeFrom(*page);
    if (token.empty()) return all;
    if (token == request.page_token())
      return absl::InternalError("the server answers the same page of the list again and again");
    request.set_page_token(token);
  }
}

void NoteFreezesAndProblems(Session& session, const v1::ListResponse& response) {
  for (const v1::FreezeInfo& freeze : response.freezes()) {
    session.Note(
        absl::StrCat("frozen: ", freeze.target().empty() ? "all targets" : freeze.target(),
                     freeze.actor().empty() ? "" : absl::StrCat(" by ", freeze.actor()), ": ", freeze.reason(),
                     freeze.has_until() ? absl::StrCat(" (until ", HumanTime(FromProto(freeze.until())), ")") : ""));
  }
  if (!response.stale_reason().empty()) {
    session.Note(absl::StrCat("as of ", HumanTime(FromProto(response.as_of())), ", and not newer: ", response.stale_reason()));
  }
  for (const v1::CatalogProblem& problem : response.catalog_problems()) {
    session.Note(absl::StrCat("refused: ", problem.file(), ": ", problem.message()));
  }
}

absl::Status List(Session& session, const ListArguments& arguments) {
  v1::ListRequest request;
  for (const std::string& word : arguments.states) {
    v1::State state;
    if (v1::State_Parse("STATE_" + word, &state)) request.add_states(state);
  }
  request.set_target(session.options().target);
  request.set_name_prefix(arguments.prefix);
  request.set_order_by(arguments.order);
  request.mutable_labels()->insert(session.options().labels.begin(), session.options().labels.end());
  const absl::StatusOr<v1::ListResponse> response = ListAll(session, request);
  if (!response.ok()) return response.status();
  if (session.PrintForPrograms(*response)) return absl::OkStatus();
  if (session.options().output == OutputFormat::kName) {
    for (const v1::Migration& migration : response->migrations())
      session.out() << Printable(FullName(migration)) << '\n';
    return absl::OkStatus();
  }
  const bool wide = session.options().output == OutputFormat::kWide;
  Table table(ListHeader(wide));
  for (const v1::Migration& migration : response->migrations()) table.AddRow(ListRow(migration, absl::Now(), wide));
  table.Print(session.out(), session.terminal());
  NoteFreezesAndProblems(session, *response);
  return absl::OkStatus();
}

absl::Status Status(Session& session, const std::string& name) {
  const absl::StatusOr<std::string> named = session.Named(name);
  if (!named.ok()) return named.status();
  const absl::StatusOr<v1::StatusResponse> response = session.client().Status(*named);
  if (!response.ok()) return session.Explain(response.status());
  if (session.PrintForPrograms(*response)) return absl::OkStatus();
  if (session.options().output == OutputFormat::kName) {
    session.out() << Printable(FullName(response->migration())) << '\n';
  } else {
    session.out() << Describe(*response, absl::Now(), session.terminal());
  }
  return absl::OkStatus();
}

// Pages until `limit` rows are there. `rows` counts those of a response.
template <typename Request, typename Response>
absl::StatusOr<Response> Collect(Session& session,
                                 absl::StatusOr<Response> (migrationcontrol::Client::*method)(const Request&),
                                 Request request, int limit, const std::function<int(const Response&)>& rows) {
  Response all;
  while (true) {
    request.set_page_size(std::min(limit - rows(all), kLargestPage));
    absl::StatusOr<Response> page = (session.client().*method)(request);
    if (!page.ok()) return session.Explain(page.status());
    all.MergeFrom(*page);
    // The token of the last page is kept: it tells a program that there is more.
    all.set_next_page_token(page->next_page_token());
    if (page->next_page_token().empty() || rows(*page) == 0 || rows(all) >= limit) return all;
    request.set_page_token(page->next_page_token());
  }
}

std::string Keys(const google::protobuf::RepeatedPtrField<std::string>& columns) { return absl::StrJoin(columns, ","); }

absl::Status Jobs(Session& session, const std::string& name, int limit) {
  const absl::StatusOr<std::string> named = session.Named(name);
  if (!named.ok()) return named.status();
  v1::ListJobsRequest request;
  request.set_migration(*named);
  const auto response =
      Collect<v1::ListJobsRequest, v1::ListJobsResponse>(session, &migrationcontrol::Client::ListJobs, request, limit,
                                                         [](const v1::ListJobsResponse& r) { return r.jobs_size(); });
  if (!response.ok()) return response.status();
  if (session.PrintForPrograms(*response)) return absl::OkStatus();
  const bool wide = session.options().output == OutputFormat::kWide;
  std::vector<std::string> header = {"ID",         "LANE",    "PASS",    "AFTER",   "UPTO", "ROWS",
                                     "SUBBATCHES", "STARTED", "WORKING", "OUTCOME", "ERROR"};
  if (wide) header.insert(header.end() - 1, {"FINISHED", "BATCH", "SUBBATCH", "EPOCH"});
  Table table(header);
  for (const v1::Job& job : response->jobs()) {
    std::vector<Cell> cells = {absl::StrCat(job.id()),
                               absl::StrCat(job.lane()),
                               absl::StrCat(job.pass()),
                               Keys(job.lower()),
                               Keys(job.upper()),
                               FormatCount(job.rows()),
                               FormatCount(job.sub_batches()),
                               job.has_started_at() ? HumanTime(FromProto(job.started_at())) : "",
                               HumanDuration(FromProto(job.working())),
                               job.outcome()};
    if (wide) {
      cells.emplace_back(job.has_finished_at() ? HumanTime(FromProto(job.finished_at())) : std::string());
      cells.emplace_back(absl::StrCat(job.batch_size()));
      cells.emplace_back(absl::StrCat(job.sub_batch_size()));
      cells.emplace_back(absl::StrCat(job.epoch()));
    }
    cells.emplace_back(
        absl::StrCat(job.sqlstate(), job.sqlstate().empty() || job.message().empty() ? "" : " ", job.message()));
    table.AddRow(std::move(cells));
  }
  table.Print(session.out(), session.terminal());
  return absl::OkStatus();
}

absl::Status Failures(Session& session, const std::string& name, int limit) {
  const absl::StatusOr<std::string> named = session.Named(name);
  if (!named.ok()) return named.status();
  v1::ListFailuresRequest request;
  request.set_migration(*named);
  const auto response = Collect<v1::ListFailuresRequest, v1::ListFailuresResponse>(
      session, &migrationcontrol::Client::ListFailures, request, limit,
      [](const v1::ListFailuresResponse& r) { return r.failures_size(); });
  if (!response.ok()) return response.status();
  if (session.PrintForPrograms(*response)) return absl::OkStatus();
  Table table({"KEY", "KIND", "SQLSTATE", "MESSAGE", "PASS", "AT"});
  for (const v1::RowFailure& failure : response->failures()) {
    table.AddRow({Keys(failure.key()), failure.kind() == v1::RowFailure::KIND_UNCHANGED ? "UNCHANGED" : "FAILED", failure.sqlstate(),
                  failure.message(), absl::StrCat(failure.pass()), failure.has_at() ? HumanTime(FromProto(failure.at())) : ""});
  }
  table.Print(session.out(), session.terminal());
  return absl::OkStatus();
}

absl::Status Events(Session& session, const std::string& name, const std::vector<std::string>& kinds, int limit) {
  v1::ListEventsRequest request;
  if (!name.empty()) {
    const absl::StatusOr<std::string> named = session.Named(name);
    if (!named.ok()) return named.status();
    request.set_migration(*named);
  }
  for (const std::string& kind : kinds) request.add_kinds(absl::AsciiStrToUpper(kind));
  const auto response = Collect<v1::ListEventsRequest, v1::ListEventsResponse>(
      session, &migrationcontrol::Client::ListEvents, request, limit,
      [](const v1::ListEventsResponse& r) { return r.events_size(); });
  if (!response.ok()) return response.status();
  if (session.PrintForPrograms(*response)) return absl::OkStatus();
  Table table({"AT", "MIGRATION", "KIND", "FROM", "TO", "ACTOR", "REASON"});
  for (const v1::Event& event : response->events()) {
    table.AddRow({event.has_at() ? HumanTime(FromProto(event.at())) : "",
                  event.migration().empty() ? event.target() : absl::StrCat(event.target(), "/", event.migration()),
                  event.kind(), event.from(), event.to(), event.actor(), event.reason()});
  }
  table.Print(session.out(), session.terminal());
  return absl::OkStatus();
}

absl::Status Show(Session& session, const std::string& name) {
  const absl::StatusOr<std::string> named = session.Named(name);
  if (!named.ok()) return named.status();
  const absl::StatusOr<v1::GetDefinitionResponse> response = session.client().GetDefinition(*named);
  if (!response.ok()) return session.Explain(response.status());
  if (session.options().output == OutputFormat::kJson) {
    session.out() << ToJson(*response);
  } else {
    session.out() << PrintableLines(response->yaml());
  }
  return absl::OkStatus();
}

struct HistoryArguments {
  std::string name;
  std::vector<std::string> kinds;
  int limit = 100;
};

void AddLimit(CLI::App& command, int& limit) {
  command.add_option("--limit", limit, "How many, newest first")->check(CLI::Range(1, 100'000))->capture_default_str();
}

}  // namespace

void AddObserveCommands(CommandSet& commands) {
  Session& session = commands.session();

  CLI::App& list =
      commands.Add("list", "Show all migrations, one a line", "migrationctl list --state RUNNING,HALTED -l team=ci");
  const auto list_arguments = std::make_shared<ListArguments>();
  list.add_option("--state", list_arguments->states, "Only in these states")
      ->delimiter(',')
      ->transform(
          CLI::IsMember({"PENDING", "RUNNING", "PAUSING", "PAUSED", "HALTED", "CANCELLING", "CANCELLED", "COMPLETED"},
                        CLI::ignore_case));
  list.add_option("--prefix", list_arguments->prefix, "Only names that begin so");
  list.add_option("--sort", list_arguments->order,
                  "version (default), name, state or created_at; \"version desc\" for the reverse");
  commands.OnRun(list, Selects::kMany, [&session, list_arguments] { return List(session, *list_arguments); });

  CLI::App& status = commands.Add("status", "Describe one migration: state, why, how far, when done, what to do",
                                  "migrationctl status backfill_builds_stage_id");
  const auto status_name = std::make_shared<std::string>();
  AddName(status, *status_name)->required();
  commands.OnRun(status, Selects::kOne, [&session, status_name] { return Status(session, *status_name); });

  CLI::App& jobs =
      commands.Add("jobs", "Show the batches of a migration", "migrationctl jobs backfill_builds_stage_id --limit 20");
  const auto jobs_arguments = std::make_shared<HistoryArguments>();
  AddName(jobs, jobs_arguments->name)->required();
  AddLimit(jobs, jobs_arguments->limit);
  commands.OnRun(jobs, Selects::kOne,
                 [&session, jobs_arguments] { return Jobs(session, jobs_arguments->name, jobs_arguments->limit); });

  CLI::App& failures = commands.Add("failures", "Show the rows of a migration that were not done, with the error of each, by key",
                                    "migrationctl failures backfill_builds_stage_id");
  const auto failures_arguments = std::make_shared<HistoryArguments>();
  AddName(failures, failures_arguments->name)->required();
  failures.add_option("--limit", failures_arguments->limit, "How many")->check(CLI::Range(1, 100'000))->capture_default_str();
  commands.OnRun(failures, Selects::kOne, [&session, failures_arguments] {
    return Failures(session, failures_arguments->name, failures_arguments->limit);
  });

  CLI::App& events =
      commands.Add("events", "Show who or what changed something, when and why; of one migration or of all",
                   "migrationctl events backfill_builds_stage_id --kind TRANSITION");
  const auto events_arguments = std::make_shared<HistoryArguments>();
  AddName(events, events_arguments->name);
  events.add_option("--kind", events_arguments->kinds, "Only these kinds: TRANSITION, SETTING, OWNER, FREEZE ...")
      ->delimiter(',');
  AddLimit(events, events_arguments->limit);
  commands.OnRun(events, Selects::kOne, [&session, events_arguments] {
    return Events(session, events_arguments->name, events_arguments->kinds, events_arguments->limit);
  });

  CLI::App& show = commands.Add("show", "Print the definition of a migration as YAML, with every default filled in",
                                "migrationctl show backfill_builds_stage_id");
  const auto show_name = std::make_shared<std::string>();
  AddName(show, *show_name)->required();
  commands.OnRun(show, Selects::kOne, [&session, show_name] { return Show(session, *show_name); });
}

}  // namespace migrationctl
