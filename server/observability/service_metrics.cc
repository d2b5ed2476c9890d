#include "server/observability/service_metrics.h"

#include "server/observability/log.h"
#include "server/observability/metric_families.h"

#ifndef MIGRATIOND_REVISION
#define MIGRATIOND_REVISION "unknown"
#endif

namespace migrationd {

std::vector<prometheus::MetricFamily> ServiceMetrics(const std::string& version, int watch_streams, const CertificateFacts& certificate,
                                                     std::optional<bool> credentials_refused) {
  SampleFamily build("migrationd_build_info");
  build.Add({{"version", version}, {"revision", MIGRATIOND_REVISION}, {"compiler", __VERSION__}}, 1);
  SampleFamily watches("migrationd_watch_streams");
  watches.Add({}, watch_streams);
  SampleFamily suppressed("migrationd_log_lines_suppressed_total");
  suppressed.Add({}, static_cast<double>(SuppressedLogLines()));
  SampleFamily not_after("migrationd_certificate_not_after_timestamp_seconds");
  SampleFamily reloads("migrationd_certificate_reloads_total");
  SampleFamily certificate_refused("migrationd_certificate_refused");
  SampleFamily tokens_refused("migrationd_credentials_refused");
  if (credentials_refused.has_value()) tokens_refused.Add({}, *credentials_refused ? 1 : 0);
  if (certificate.not_after.has_value()) {
    certificate_refused.Add({}, certificate.refused ? 1 : 0);
    not_after.Add({}, absl::ToDoubleSeconds(*certificate.not_after - absl::UnixEpoch()));
    reloads.Add({{"result", "ok"}}, static_cast<double>(certificate.reloads));
    reloads.Add({{"result", "refused"}}, static_cast<double>(certificate.refusals));
  }
  std::vector<prometheus::MetricFamily> families;
  for (SampleFamily* family : {&build, &watches, &suppressed, &not_after, &reloads, &certificate_refused, &tokens_refused}) {
    families.push_back(std::move(*family).Take());
  }
  return families;
}

}  // namespace migrationd
