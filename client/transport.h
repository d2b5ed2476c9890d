// How the client library reaches a server: plain or encrypted, with which files.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "migrationcontrol/client.h"

namespace migrationcontrol {

// What the PEM files say; empty for no file.
struct CertificateTexts {
  std::string ca;
  std::string certificate;
  std::string key;
};
bool operator==(const CertificateTexts& a, const CertificateTexts& b);

// UNAVAILABLE naming the file: gRPC would only say that it cannot connect.
absl::StatusOr<CertificateTexts> ReadCertificateTexts(const ClientOptions& options);

// FAILED_PRECONDITION: a token would be sent in plain text over a network.
absl::Status CheckTokenIsSafe(const ClientOptions& options);

// True when a gRPC address names this machine alone: loopback addresses, localhost, unix sockets.
bool StaysOnThisMachine(const std::string& address);

std::unique_ptr<v1::MigrationControl::StubInterface> Connect(const ClientOptions& options, const CertificateTexts& texts);

}  // namespace migrationcontrol
