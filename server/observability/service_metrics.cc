#include "server/observability/service_metrics.h"

#include "server/observability/log.h"
#include "server/observability/metric_families.h"

namespace migrationd {

std::vector<prometheus::MetricFamily> ServiceMetrics(const ServiceFacts& facts) {
  SampleFamily build("migrationd_build_info");
  build.Add({{"version", facts.version}, {"revision", facts.revision}, {"compiler", __VERSION__}}, 1);
  SampleFamily watches("migrationd_watch_streams");
  watches.Add({}, facts.watch_streams);
  SampleFamily suppressed("migrationd_log_lines_suppressed_total");
  suppressed.Add({}, static_cast<double>(SuppressedLogLines()));
  SampleFamily not_after("migrationd_certificate_not_after_timestamp_seconds");
  SampleFamily reloads("migrationd_certificate_reloads_total");
  SampleFamily certificate_refused("migrationd_certificate_refused");
  SampleFamily tokens_refused("migrationd_credentials_refused");
  if (facts.credentials_refused.has_value()) tokens_refused.Add({}, *facts.credentials_refused ? 1 : 0);
  if (facts.certificate.not_after.has_value()) {
    certificate_refused.Add({}, facts.certificate.refused ? 1 : 0);
    not_after.Add({}, absl::ToDoubleSeconds(*facts.certificate.not_after - absl::UnixEpoch()));
    reloads.Add({{"result", "ok"}}, static_cast<double>(facts.certificate.reloads));
    reloads.Add({{"result", "refused"}}, static_cast<double>(facts.certificate.refusals));
  }
  SampleFamily open("migrationd_grpc_connections");
  open.Add({}, static_cast<double>(facts.connections.open));
  SampleFamily refused("migrationd_grpc_connections_refused_total");
  refused.Add({{"reason", "limit"}}, static_cast<double>(facts.connections.refused_limit));
  refused.Add({{"reason", "host_limit"}}, static_cast<double>(facts.connections.refused_host_limit));
  refused.Add({{"reason", "descriptors"}}, static_cast<double>(facts.connections.refused_descriptors));
  std::vector<prometheus::MetricFamily> families;
  for (SampleFamily* family : {&build, &watches, &suppressed, &not_after, &reloads, &certificate_refused, &tokens_refused, &open, &refused}) {
    families.push_back(std::move(*family).Take());
  }
  return families;
}

}  // namespace migrationd
