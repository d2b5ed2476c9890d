// Counts and times every call of every service of the server, health and reflection included.
#pragma once

#include <memory>

#include "grpcpp/support/server_interceptor.h"
#include "server/clock.h"
#include "server/observability/metrics.h"

namespace migrationd {

// For ServerBuilder::experimental().SetInterceptorCreators. `metrics` and `clock` outlive the server.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeCallMetrics(Metrics& metrics, Clock& clock);

// Makes the series of every method of MigrationControl.
void ExpectCalls(Metrics& metrics);

}  // namespace migrationd
