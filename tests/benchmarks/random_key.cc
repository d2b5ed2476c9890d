#include "tests/benchmarks/random_key.h"

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "migrations/model/status_macros.h"
#include "server/clock.h"
#include "tests/benchmarks/cluster.h"
#include "tests/benchmarks/engine.h"
#include "tests/benchmarks/median.h"

namespace migrationd {
namespace {

// Seconds since the first statement, the barrier included.
struct Times {
  double execute = 0;
  double both = 0;
};

class Comparison {
 public:
  Comparison(const RandomKeySettings& settings, std::string url, Connection& sql) : settings_(settings), url_(std::move(url)), sql_(sql) {}

  absl::Status Run(int fill_factor) {
    std::map<std::string, std::vector<Times>> times;
    std::string size;
    for (int round = 0; round < settings_.rounds; ++round) {
      for (const char* strategy : kStrategies) {
        MD_RETURN_IF_ERROR(FreshTable(fill_factor));
        MD_ASSIGN_OR_RETURN(size, Size());
        MD_ASSIGN_OR_RETURN(const Times run, RunBothPasses(strategy));
        times[strategy].push_back(run);
        MD_ASSIGN_OR_RETURN(const QueryResult left, sql_.Query("SELECT count(*) FROM u WHERE val IS DISTINCT FROM length(body)"));
        if (left.integer(0, 0) != 0) return absl::InternalError(absl::StrCat(strategy, " left ", left.integer(0, 0), " rows"));
      }
    }
    Print(fill_factor, size, times);
    return absl::OkStatus();
  }

 private:
  static constexpr const char* kStrategies[] = {"KEYSET", "PHYSICAL"};

  absl::Status FreshTable(int fill_factor) {
    // Random, and the same each time.
    return MakeFresh(sql_, "u",
                     absl::StrCat("CREATE TABLE u (id uuid PRIMARY KEY, body text, val int) WITH (fillfactor = ", fill_factor,
                                  "); INSERT INTO u SELECT md5(i::text)::uuid, repeat('x', 130 + i % 40) FROM generate_series(1, ", settings_.rows,
                                  ") AS i"));
  }

  absl::StatusOr<std::string> Size() {
    MD_ASSIGN_OR_RETURN(const QueryResult size,
                        sql_.Query("SELECT pg_size_pretty(pg_table_size('u')), round(pg_table_size('u') / (SELECT setting::numeric * 8192 FROM "
                                   "pg_settings WHERE name = 'shared_buffers'), 1)"));
    return absl::StrCat(size.text(0, 0), ", ", size.text(0, 1), " times shared_buffers");
  }

  absl::StatusOr<Times> RunBothPasses(const std::string& strategy) {
    const absl::Time begun = Clock::Real().Now();
    EngineOptions options;
    options.url = url_;
    options.definition = absl::StrCat("sql_batch: {table: u, alias: b, strategy: ", strategy,
                                      ", where: b.val IS NULL, statement: 'UPDATE u AS b SET val = length(body) WHERE {{batch}}'}\n");
    options.sub_batch_size = settings_.sub_batch_size;
    options.batch_size = 50 * settings_.sub_batch_size;
    MD_ASSIGN_OR_RETURN(const auto engine, Engine::Open(std::move(options)));
    MD_ASSIGN_OR_RETURN(const std::int64_t executed, engine->RunPass());
    Times times;
    times.execute = absl::ToDoubleSeconds(Clock::Real().Now() - begun);
    MD_ASSIGN_OR_RETURN(const std::int64_t verified, engine->RunPass());
    MD_RETURN_IF_ERROR(engine->Finish());
    times.both = absl::ToDoubleSeconds(Clock::Real().Now() - begun);
    if (executed == settings_.rows && verified == 0) return times;
    return absl::InternalError(absl::StrCat(strategy, ": EXECUTE affected ", executed, " rows and VERIFY ", verified));
  }

  void Print(int fill_factor, const std::string& size, const std::map<std::string, std::vector<Times>>& times) {
    absl::PrintF("\nuuid key, %d rows, fillfactor %d (%s), sub-batches of %d, %d rounds, medians\n", settings_.rows, fill_factor, size,
                 settings_.sub_batch_size, settings_.rounds);
    absl::PrintF("%-10s %14s %10s %14s %10s\n", "strategy", "EXECUTE rows/s", "of KEYSET", "both rows/s", "of KEYSET");
    const double rows = static_cast<double>(settings_.rows);
    const double execute = Median(times.at("KEYSET"), &Times::execute);
    const double both = Median(times.at("KEYSET"), &Times::both);
    for (const char* strategy : kStrategies) {
      const double own_execute = Median(times.at(strategy), &Times::execute);
      const double own_both = Median(times.at(strategy), &Times::both);
      absl::PrintF("%-10s %14.0f %10.2f %14.0f %10.2f\n", strategy, rows / own_execute, execute / own_execute, rows / own_both, both / own_both);
    }
  }

  static double Median(const std::vector<Times>& times, double Times::*which) {
    std::vector<double> values;
    for (const Times& time : times) values.push_back(time.*which);
    return migrationd::Median(std::move(values));
  }

  const RandomKeySettings settings_;
  const std::string url_;
  Connection& sql_;
};

}  // namespace

absl::Status CompareStrategies(const RandomKeySettings& settings) {
  MD_ASSIGN_OR_RETURN(const auto cluster, BenchmarkCluster::Start(settings.shared_buffers_mb));
  MD_ASSIGN_OR_RETURN(const auto sql, OpenConnection(cluster->postgres().Url()));
  Comparison comparison(settings, cluster->postgres().Url(), *sql);
  for (const int fill_factor : settings.fill_factors) MD_RETURN_IF_ERROR(comparison.Run(fill_factor));
  return absl::OkStatus();
}

}  // namespace migrationd
