#include "server/observability/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/observability/metric_table.h"

namespace migrationd {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Histogram;
using prometheus::Labels;

constexpr char kOthers[] = "(others)";
constexpr absl::Duration kForgottenAfter = absl::Hours(1);

// From half a millisecond, a sub-batch of one row, to a minute.
Histogram::BucketBoundaries SubBatchBuckets() {
  return {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
}
Histogram::BucketBoundaries CallBuckets() { return {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}; }

// As the exporters of other languages write them.
const char* CodeName(int code) {
  static constexpr const char* kNames[] = {"OK",           "Canceled",         "Unknown",        "InvalidArgument", "DeadlineExceeded",
                                           "NotFound",     "AlreadyExists",    "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
                                           "Aborted",      "OutOfRange",       "Unimplemented",  "Internal",        "Unavailable",
                                           "DataLoss",     "Unauthenticated"};
  return code >= 0 && code < static_cast<int>(std::size(kNames)) ? kNames[code] : "Unknown";
}
constexpr int kCodes = 17;

Labels LabelsOf(const Metrics::Call& call) {
  return {{"grpc_type", call.streaming ? "server_stream" : "unary"}, {"grpc_service", call.service}, {"grpc_method", call.method}};
}

}  // namespace

struct Metrics::Families {
  Family<Counter>& MakeCounter(const char* name) {
    const MetricInfo& info = MetricNamed(name);
    return prometheus::BuildCounter().Name(name).Help(std::string(info.help)).Register(registry);
  }
  Family<Histogram>& MakeHistogram(const char* name) {
    const MetricInfo& info = MetricNamed(name);
    return prometheus::BuildHistogram().Name(name).Help(std::string(info.help)).Register(registry);
  }

  using Key = std::pair<std::string, std::string>;  // target, migration

  // The migration's name while there are not too many. What gets a name keeps it, and its series, for kForgottenAfter from now at least.
  std::string Bounded(const std::string& target, const std::string& migration) {
    absl::MutexLock lock(&mutex);
    const absl::Time now = clock.Now();
    const Key key(target, migration);
    if (const auto found = known.find(key); found != known.end()) {
      found->second = now;
      return migration;
    }
    if (known.size() >= static_cast<std::size_t>(kMigrationSeriesMax) && !ForgetOne(now)) return kOthers;
    known.emplace(key, now);
    return migration;
  }

  // Makes place for a migration; false when all are in use.
  bool ForgetOne(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const auto oldest = std::min_element(known.begin(), known.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    if (now - oldest->second < kForgottenAfter) return false;
    const Labels labels = {{"target", oldest->first.first}, {"migration", oldest->first.second}};
    for (Family<Counter>* family : {&rows, &sub_batches}) family->Remove(&family->Add(labels));
    for (const std::string& outcome : outcomes) {
      Labels with_outcome = labels;
      with_outcome["outcome"] = outcome;
      batches.Remove(&batches.Add(with_outcome));
    }
    known.erase(oldest);
    return true;
  }

  explicit Families(Clock& of) : clock(of) {}
  Clock& clock;

  prometheus::Registry registry;
  Family<Counter>& rows = MakeCounter("migrationd_rows_total");
  Family<Counter>& batches = MakeCounter("migrationd_batches_total");
  Family<Counter>& sub_batches = MakeCounter("migrationd_sub_batches_total");
  Family<Histogram>& sub_batch_duration = MakeHistogram("migrationd_sub_batch_duration_seconds");
  Family<Counter>& sub_batch_failures = MakeCounter("migrationd_sub_batch_failures_total");
  Family<Counter>& step_failures = MakeCounter("migrationd_step_failures_total");
  Family<Counter>& fenced = MakeCounter("migrationd_fenced_commits_total");
  Family<Counter>& takeovers = MakeCounter("migrationd_takeovers_total");
  Family<Counter>& yielded = MakeCounter("migrationd_sub_batches_yielded_total");
  Family<Counter>& hold = MakeCounter("migrationd_hold_seconds_total");
  Family<Counter>& started = MakeCounter("grpc_server_started_total");
  Family<Counter>& handled = MakeCounter("grpc_server_handled_total");
  Family<Histogram>& handling = MakeHistogram("grpc_server_handling_seconds");

  absl::Mutex mutex;
  std::map<Key, absl::Time> known ABSL_GUARDED_BY(mutex);  // when something last happened
  std::set<std::string> outcomes ABSL_GUARDED_BY(mutex);   // of batches: a handful of words of ours
};

Metrics::Metrics(Clock& clock) : families_(std::make_unique<Families>(clock)) {}
Metrics::~Metrics() = default;

void Metrics::SubBatchDone(const std::string& target, const std::string& migration, std::int64_t rows, absl::Duration took) {
  const Labels labels = {{"target", target}, {"migration", families_->Bounded(target, migration)}};
  families_->rows.Add(labels).Increment(static_cast<double>(rows));
  families_->sub_batches.Add(labels).Increment();
  families_->sub_batch_duration.Add({{"target", target}}, SubBatchBuckets()).Observe(absl::ToDoubleSeconds(took));
}

void Metrics::BatchDone(const std::string& target, const std::string& migration, const std::string& outcome) {
  {
    absl::MutexLock lock(&families_->mutex);
    families_->outcomes.insert(outcome);
  }
  families_->batches.Add({{"target", target}, {"migration", families_->Bounded(target, migration)}, {"outcome", outcome}}).Increment();
}

void Metrics::SubBatchFailed(const std::string& target, const std::string& failure) {
  families_->sub_batch_failures.Add({{"target", target}, {"class", failure}}).Increment();
}

void Metrics::StepFailed(const std::string& target, const std::string& failure) {
  families_->step_failures.Add({{"target", target}, {"class", failure}}).Increment();
}

void Metrics::Fenced(const std::string& target) { families_->fenced.Add({{"target", target}}).Increment(); }

void Metrics::TookOver(const std::string& target) { families_->takeovers.Add({{"target", target}}).Increment(); }

void Metrics::Yielded(const std::string& target) { families_->yielded.Add({{"target", target}}).Increment(); }

void Metrics::Held(const std::string& target, const std::string& hold, absl::Duration time) {
  families_->hold.Add({{"target", target}, {"hold", hold}}).Increment(absl::ToDoubleSeconds(time));
}

void Metrics::ExpectCall(const Call& call) {
  Labels labels = LabelsOf(call);
  families_->started.Add(labels);
  families_->handling.Add(labels, CallBuckets());
  for (int code = 0; code < kCodes; ++code) {
    labels["grpc_code"] = CodeName(code);
    families_->handled.Add(labels);
  }
}

void Metrics::CallStarted(const Call& call) { families_->started.Add(LabelsOf(call)).Increment(); }

void Metrics::CallHandled(const Call& call, int code, absl::Duration took) {
  Labels labels = LabelsOf(call);
  families_->handling.Add(labels, CallBuckets()).Observe(absl::ToDoubleSeconds(took));
  labels["grpc_code"] = CodeName(code);
  families_->handled.Add(labels).Increment();
}

std::vector<prometheus::MetricFamily> Metrics::Collect() const { return families_->registry.Collect(); }

}  // namespace migrationd
