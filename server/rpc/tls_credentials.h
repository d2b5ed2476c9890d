// gRPC server credentials whose certificate is asked for at every handshake, so that a rotated one needs no restart.
#pragma once

#include <memory>

#include "grpcpp/security/server_credentials.h"
#include "server/rpc/server_certificates.h"

namespace migrationd {

// TLS 1.2 or later. Where the set has a client_ca, clients must show a certificate of it (mutual TLS). `certificates` is kept alive by
// what is returned.
std::shared_ptr<grpc::ServerCredentials> MakeTlsCredentials(std::shared_ptr<const ServerCertificates> certificates);

}  // namespace migrationd
