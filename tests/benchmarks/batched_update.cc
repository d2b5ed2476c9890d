#include "tests/benchmarks/batched_update.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "migrations/model/status_macros.h"
#include "server/clock.h"
#include "tests/benchmarks/cluster.h"
#include "tests/benchmarks/engine.h"
#include "tests/benchmarks/median.h"
#include "tests/benchmarks/rivals.h"
#include "tests/benchmarks/service.h"
#include "tests/benchmarks/update.h"

namespace migrationd {
namespace {

struct Variant {
  std::string name;
  std::int64_t batch = 0;  // 0: has no size, or one of its own
  // The time it took, if that is not the time of the call.
  std::function<absl::StatusOr<std::optional<absl::Duration>>()> run;
  std::vector<double> seconds = {};
};

constexpr char kPlain[] = "plain UPDATE, durable";
constexpr char kDurableLoop[] = "PL/pgSQL loop, durable";
constexpr char kAsyncLoop[] = "PL/pgSQL loop, async";
constexpr char kGitLab[] = "GitLab way 1,000/100, durable";

class Comparison {
 public:
  Comparison(BatchedUpdateSettings settings, std::string url, Connection& sql, PrivatePostgres* postgres)
      : settings_(std::move(settings)), url_(std::move(url)), sql_(sql), postgres_(postgres) {}

  absl::Status Run() {
    AddVariants();
    for (int round = 0; round < settings_.rounds; ++round) {
      for (Variant& variant : variants_) MD_RETURN_IF_ERROR(RunOnce(variant));
    }
    for (const std::int64_t batch : settings_.batches) Print(batch);
    for (const std::string& note : notes_) absl::PrintF("%s\n", note);
    return absl::OkStatus();
  }

 private:
  void Add(std::string name, std::int64_t batch, std::function<absl::Status()> run) {
    AddTimed(std::move(name), batch, [run = std::move(run)]() -> absl::StatusOr<std::optional<absl::Duration>> {
      MD_RETURN_IF_ERROR(run());
      return std::nullopt;
    });
  }
  void AddTimed(std::string name, std::int64_t batch, std::function<absl::StatusOr<std::optional<absl::Duration>>()> run) {
    const bool wanted = settings_.only.empty() || std::any_of(settings_.only.begin(), settings_.only.end(),
                                                              [&](const std::string& part) { return name.find(part) != std::string::npos; });
    if (wanted) variants_.push_back({std::move(name), batch, std::move(run)});
  }

  void AddVariants() {
    Add(kPlain, 0, [this] { return PlainUpdate(sql_); });
    Add("plain UPDATE, two lanes, durable", 0, [this] { return PlainUpdateInTwoHalves(url_, settings_.rows); });
    Add(kGitLab, 0, [this] { return GitLabWay(url_); });
    for (const std::int64_t batch : settings_.batches) AddSized(batch);
  }

  void AddSized(std::int64_t batch) {
    Add(kDurableLoop, batch, [=, this] { return PlPgSqlLoop(sql_, batch, "on"); });
    Add(kAsyncLoop, batch, [=, this] { return PlPgSqlLoop(sql_, batch, "off"); });
    Add("migrationd, one lane, ASYNC", batch, [=, this] { return Ours(batch, {}); });
    Add("migrationd, two lanes, ASYNC", batch, [=, this] { return Ours(batch, {.lanes = 2}); });
    Add("migrationd, one lane, SYNC", batch, [=, this] { return Ours(batch, {.synchronous_commit = true}); });
    Add("migrationd, one lane, pooled form, ASYNC", batch, [=, this] { return Ours(batch, {.session_functions = false}); });
    Add("string of EXECUTEs, async", batch, [=, this] { return ExecuteStrings(url_, settings_.rows, batch); });
    if (postgres_ == nullptr) return;
    for (const int lanes : {1, 2}) {
      const std::string name = absl::StrCat("migrationd, whole service, ", lanes == 1 ? "one lane" : "two lanes", ", ASYNC");
      AddTimed(name, batch, [=, this] { return WholeService(name, batch, lanes); });
    }
  }

  // `options` but for what all of ours have in common.
  absl::Status Ours(std::int64_t batch, EngineOptions options) {
    options.url = url_;
    options.definition = kUpdateYaml;
    options.batch_size = static_cast<std::int32_t>(50 * batch);
    options.sub_batch_size = static_cast<std::int32_t>(batch);
    MD_ASSIGN_OR_RETURN(const auto engine, Engine::Open(std::move(options)));
    MD_RETURN_IF_ERROR(engine->RunPass().status());
    return engine->Finish();
  }

  absl::StatusOr<std::optional<absl::Duration>> WholeService(const std::string& name, std::int64_t batch, int lanes) {
    MD_ASSIGN_OR_RETURN(const ServiceRun run, RunService(*postgres_, sql_, {.lanes = lanes, .sub_batch_size = batch}));
    const double wall = absl::ToDoubleSeconds(run.wall);
    notes_.push_back(absl::StrFormat(
        "\n%s, sub-batches of %d:\n  %.2f s, of which working %.2f, held %.2f; from Enqueue to the answer %.2f s; then %.2f s to stop\n"
        "  control store %d commits (%.1f/s), %d rows written (%.1f/s); target %.3f commits a sub-batch; migrationd %d kB resident",
        name, batch, absl::ToDoubleSeconds(run.took), absl::ToDoubleSeconds(run.working), absl::ToDoubleSeconds(run.held), wall,
        absl::ToDoubleSeconds(run.stopping), run.control_commits, static_cast<double>(run.control_commits) / wall, run.control_rows,
        static_cast<double>(run.control_rows) / wall, run.target_commits_per_sub_batch, run.resident_kb));
    return run.took;
  }

  absl::Status RunOnce(Variant& variant) {
    MD_RETURN_IF_ERROR(MakeFresh(sql_, "t", MakeUpdateTable(settings_.rows)));
    const absl::Time begun = Clock::Real().Now();
    MD_ASSIGN_OR_RETURN(const auto own_time, variant.run());
    variant.seconds.push_back(absl::ToDoubleSeconds(own_time.value_or(Clock::Real().Now() - begun)));
    MD_ASSIGN_OR_RETURN(const QueryResult left, sql_.Query("SELECT count(*) FROM t WHERE val IS DISTINCT FROM length(body)"));
    if (left.integer(0, 0) == 0) return absl::OkStatus();
    return absl::InternalError(absl::StrCat(variant.name, " left ", left.integer(0, 0), " rows"));
  }

  // Of a variant in the table of that size; nullopt: it was not to run.
  std::optional<double> Seconds(const std::string& name, std::int64_t batch) const {
    for (const Variant& variant : variants_) {
      if (variant.name == name && (variant.batch == batch || variant.batch == 0)) return Median(variant.seconds);
    }
    return std::nullopt;
  }

  void Print(std::int64_t batch) const {
    const std::vector<std::pair<std::string, std::optional<double>>> references = {{"durable loop", Seconds(kDurableLoop, batch)},
                                                                                   {"async loop", Seconds(kAsyncLoop, batch)},
                                                                                   {"plain UPDATE", Seconds(kPlain, batch)},
                                                                                   {"GitLab way", Seconds(kGitLab, batch)}};
    absl::PrintF("\n%d rows, sub-batches of %d, %d rounds, medians; times as fast as\n", settings_.rows, batch, settings_.rounds);
    absl::PrintF("%-42s %9s", "", "rows/s");
    for (const auto& [name, seconds] : references) absl::PrintF(" %13s", name);
    absl::PrintF("\n");
    for (const Variant& variant : variants_) {
      if (variant.batch != 0 && variant.batch != batch) continue;
      const double median = Median(variant.seconds);
      absl::PrintF("%-42s %9.0f", variant.name, static_cast<double>(settings_.rows) / median);
      for (const auto& [name, seconds] : references) {
        absl::PrintF(" %13s", seconds.has_value() ? absl::StrFormat("%.2f", *seconds / median) : "-");
      }
      absl::PrintF("\n");
    }
  }

  const BatchedUpdateSettings settings_;
  const std::string url_;
  Connection& sql_;
  PrivatePostgres* const postgres_;  // null: somebody else's database
  std::vector<Variant> variants_;
  std::vector<std::string> notes_;
};

}  // namespace

absl::Status CompareUpdates(const BatchedUpdateSettings& settings) {
  std::unique_ptr<BenchmarkCluster> cluster;
  if (settings.url.empty()) {
    MD_ASSIGN_OR_RETURN(cluster, BenchmarkCluster::Start(/*shared_buffers_mb=*/1024));
  }
  const std::string url = cluster == nullptr ? settings.url : cluster->postgres().Url();
  MD_ASSIGN_OR_RETURN(const auto sql, OpenConnection(url));
  return Comparison(settings, url, *sql, cluster == nullptr ? nullptr : &cluster->postgres()).Run();
}

}  // namespace migrationd
