#include "server/observability/admin_server.h"

#include <CivetServer.h>
#include <prometheus/text_serializer.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace migrationd {
namespace {

// A connection holds a thread until it has sent its request; one that sends nothing is cut off soon, so that a few of them do not keep
// probes from their answer for as long as a probe waits.
std::vector<std::string> WebOptions(const std::string& listen) {
  return {"listening_ports", listen,  "num_threads", "32",  "request_timeout_ms", "2000", "keep_alive_timeout_ms", "0",
          "max_request_size", "16384", "enable_directory_listing", "no"};
}

void Answer(mg_connection* connection, int status, const char* type, const std::string& body) {
  const char* const phrase = status == 200 ? "OK" : "Service Unavailable";
  mg_printf(connection,
            "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
            "Connection: close\r\n\r\n",
            status, phrase, type, body.size());
  mg_write(connection, body.data(), body.size());
}

class MetricsPage : public CivetHandler {
 public:
  explicit MetricsPage(std::function<std::vector<prometheus::MetricFamily>()> collect) : collect_(std::move(collect)) {}
  bool handleGet(CivetServer*, mg_connection* connection) override {
    Answer(connection, 200, "text/plain; version=0.0.4; charset=utf-8", prometheus::TextSerializer().Serialize(collect_()));
    return true;
  }

 private:
  const std::function<std::vector<prometheus::MetricFamily>()> collect_;
};

class ProbePage : public CivetHandler {
 public:
  explicit ProbePage(std::function<absl::Status()> ask) : ask_(std::move(ask)) {}
  bool handleGet(CivetServer*, mg_connection* connection) override {
    const absl::Status status = ask_();
    Answer(connection, status.ok() ? 200 : 503, "text/plain; charset=utf-8",
           status.ok() ? "ok\n" : absl::StrCat(std::string(status.message()), "\n"));
    return true;
  }

 private:
  const std::function<absl::Status()> ask_;
};

}  // namespace

class AdminServer::Web {
 public:
  Web(const std::string& listen, AdminPages pages)
      : server_(WebOptions(listen)), metrics_(std::move(pages.metrics)), healthy_(std::move(pages.healthy)), ready_(std::move(pages.ready)) {
    // "$": the path and nothing that begins with it.
    server_.addHandler("/metrics$", metrics_);
    server_.addHandler("/healthz$", healthy_);
    server_.addHandler("/readyz$", ready_);
  }
  // No request is under way when the pages are destroyed.
  ~Web() { server_.close(); }

  int port() const {
    mg_server_port ports[1] = {};
    return mg_get_server_ports(server_.getContext(), 1, ports) == 1 ? ports[0].port : 0;
  }

 private:
  CivetServer server_;
  MetricsPage metrics_;
  ProbePage healthy_;
  ProbePage ready_;
};

absl::StatusOr<std::unique_ptr<AdminServer>> AdminServer::Start(const std::string& listen, AdminPages pages) {
  std::string address = listen;
  if (absl::StartsWith(address, "localhost:")) address.replace(0, 9, "127.0.0.1");
  try {
    return std::unique_ptr<AdminServer>(new AdminServer(std::make_unique<Web>(address, std::move(pages))));
  } catch (const CivetException& error) {
    return absl::UnavailableError(absl::StrCat("--http-listen ", listen, " cannot be served (", error.what(),
                                               "): is the address this machine's, and the port free? Give another, or off."));
  }
}

AdminServer::AdminServer(std::unique_ptr<Web> web) : web_(std::move(web)) {}
AdminServer::~AdminServer() = default;

int AdminServer::port() const { return web_->port(); }

}  // namespace migrationd
