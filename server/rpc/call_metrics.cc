#include "server/rpc/call_metrics.h"

#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "migrationcontrol/v1/migration_control.pb.h"

namespace migrationd {
namespace {

namespace ge = grpc::experimental;

Metrics::Call CallOf(const ge::ServerRpcInfo& info) {
  absl::string_view name = info.method();
  absl::ConsumePrefix(&name, "/");
  const std::size_t slash = name.find('/');
  Metrics::Call call;
  call.streaming = info.type() == ge::ServerRpcInfo::Type::SERVER_STREAMING || info.type() == ge::ServerRpcInfo::Type::BIDI_STREAMING;
  call.service = std::string(name.substr(0, slash));
  call.method = slash == absl::string_view::npos ? "" : std::string(name.substr(slash + 1));
  return call;
}

// Lives as long as the call.
class Interceptor final : public ge::Interceptor {
 public:
  Interceptor(Metrics& metrics, Clock& clock, Metrics::Call call)
      : metrics_(metrics), clock_(clock), call_(std::move(call)), begun_(clock.Now()) {
    metrics_.CallStarted(call_);
  }
  ~Interceptor() override { metrics_.CallHandled(call_, code_, clock_.Now() - begun_); }

  void Intercept(ge::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(ge::InterceptionHookPoints::PRE_SEND_STATUS)) {
      code_ = static_cast<int>(methods->GetSendStatus().error_code());
    }
    methods->Proceed();
  }

 private:
  Metrics& metrics_;
  Clock& clock_;
  const Metrics::Call call_;
  const absl::Time begun_;
  int code_ = static_cast<int>(grpc::StatusCode::CANCELLED);  // ended before it had a status: the client went away
};

class Factory final : public ge::ServerInterceptorFactoryInterface {
 public:
  Factory(Metrics& metrics, Clock& clock) : metrics_(metrics), clock_(clock) {}
  ge::Interceptor* CreateServerInterceptor(ge::ServerRpcInfo* info) override { return new Interceptor(metrics_, clock_, CallOf(*info)); }

 private:
  Metrics& metrics_;
  Clock& clock_;
};

}  // namespace

std::unique_ptr<ge::ServerInterceptorFactoryInterface> MakeCallMetrics(Metrics& metrics, Clock& clock) {
  return std::make_unique<Factory>(metrics, clock);
}

void ExpectCalls(Metrics& metrics) {
  const auto* const file = migrationcontrol::v1::ListRequest::descriptor()->file();
  for (int s = 0; s < file->service_count(); ++s) {
    const auto* const service = file->service(s);
    for (int m = 0; m < service->method_count(); ++m) {
      const auto* const method = service->method(m);
      metrics.ExpectCall({method->server_streaming(), service->full_name(), method->name()});
    }
  }
}

}  // namespace migrationd
