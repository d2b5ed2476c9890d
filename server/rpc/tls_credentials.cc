#include "server/rpc/tls_credentials.h"

#include <string>
#include <utility>

#include "grpc/grpc.h"
#include "grpc/grpc_security.h"

namespace migrationd {
namespace {

// gRPC's C++ classes take a certificate once, or watch files themselves and then serve whatever they find there, garbage included. Its C
// interface asks for each handshake; this is the least that makes it a ServerCredentials.
class TlsCredentials final : public grpc::ServerCredentials {
 public:
  explicit TlsCredentials(std::shared_ptr<const ServerCertificates> certificates) : certificates_(std::move(certificates)) {
    const bool mutual = !certificates_->Get()->texts.client_ca.empty();
    grpc_ssl_server_credentials_options* options = grpc_ssl_server_credentials_create_options_using_config_fetcher(
        mutual ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE, &Fetch, this);
    credentials_ = grpc_ssl_server_credentials_create_with_options(options);
  }
  ~TlsCredentials() override { grpc_server_credentials_release(credentials_); }

  // gRPC's own hook for authentication; ours is in the handlers (authenticator.h).
  void SetAuthMetadataProcessor(const std::shared_ptr<grpc::AuthMetadataProcessor>&) override {}

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  // Called for one handshake at a time: gRPC holds a lock around it.
  static grpc_ssl_certificate_config_reload_status Fetch(void* self, grpc_ssl_server_certificate_config** config) {
    auto* const credentials = static_cast<TlsCredentials*>(self);
    const auto set = credentials->certificates_->Get();
    if (set->generation == credentials->generation_) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    const grpc_ssl_pem_key_cert_pair pair = {set->texts.key.c_str(), set->texts.certificate.c_str()};
    // gRPC 1.51 wants roots here also where no client is asked for a certificate; then they are not used.
    const std::string& roots = set->texts.client_ca.empty() ? set->texts.certificate : set->texts.client_ca;
    *config = grpc_ssl_server_certificate_config_create(roots.c_str(), &pair, 1);
    credentials->generation_ = set->generation;
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  const std::shared_ptr<const ServerCertificates> certificates_;
  grpc_server_credentials* credentials_ = nullptr;
  std::uint64_t generation_ = 0;  // 0: none was handed out yet
};

}  // namespace

std::shared_ptr<grpc::ServerCredentials> MakeTlsCredentials(std::shared_ptr<const ServerCertificates> certificates) {
  return std::make_shared<TlsCredentials>(std::move(certificates));
}

}  // namespace migrationd
