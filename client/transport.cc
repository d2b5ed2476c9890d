#include "client/transport.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"

namespace migrationcontrol {
namespace {

bool IsEncrypted(const ClientOptions& options) {
  return options.tls || !options.ca_file.empty() || !options.certificate_file.empty() || !options.key_file.empty();
}

// One address without its scheme: HOST:PORT, HOST, [IPV6]:PORT or IPV6.
bool IsLoopback(absl::string_view address) {
  if (absl::StartsWith(address, "[::1]") || absl::StartsWithIgnoreCase(address, "%5B::1%5D") || address == "::1") return true;
  const absl::string_view host = address.substr(0, address.find(':'));
  if (absl::EqualsIgnoreCase(host, "localhost")) return true;
  // 127.example.org is a name like any other.
  return absl::StartsWith(host, "127.") &&
         std::all_of(host.begin(), host.end(), [](unsigned char c) { return absl::ascii_isdigit(c) || c == '.'; });
}

}  // namespace

bool operator==(const CertificateTexts& a, const CertificateTexts& b) {
  return a.ca == b.ca && a.certificate == b.certificate && a.key == b.key;
}

absl::StatusOr<CertificateTexts> ReadCertificateTexts(const ClientOptions& options) {
  CertificateTexts texts;
  const std::pair<const std::string&, std::string&> files[] = {
      {options.ca_file, texts.ca}, {options.certificate_file, texts.certificate}, {options.key_file, texts.key}};
  for (const auto& [file, text] : files) {
    if (file.empty()) continue;
    std::ifstream in(file, std::ios::binary);
    std::stringstream read;
    if (in) read << in.rdbuf();
    if (!in || !read) return absl::UnavailableError(file + " cannot be read");
    text = read.str();
  }
  return texts;
}

absl::Status CheckTokenIsSafe(const ClientOptions& options) {
  if (options.token_file.empty() || IsEncrypted(options) || options.allow_token_without_tls || StaysOnThisMachine(options.address))
    return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "the token would be sent to ", options.address,
      " in plain text, for whoever can read the network; use TLS (ca_file or tls; migrationctl --ca or --tls), or, where something else "
      "encrypts, allow_token_without_tls (migrationctl --allow-token-without-tls)"));
}

bool StaysOnThisMachine(const std::string& address) {
  absl::string_view rest = address;
  if (absl::StartsWith(rest, "unix:") || absl::StartsWith(rest, "unix-abstract:")) return true;
  for (const absl::string_view scheme : {"dns:", "ipv4:", "ipv6:", "passthrough:"}) {
    if (absl::ConsumePrefix(&rest, scheme)) break;
  }
  absl::ConsumePrefix(&rest, "///");
  const std::vector<absl::string_view> addresses = absl::StrSplit(rest, ',');
  return std::all_of(addresses.begin(), addresses.end(), IsLoopback);
}

std::unique_ptr<v1::MigrationControl::StubInterface> Connect(const ClientOptions& options, const CertificateTexts& texts) {
  grpc::ChannelArguments arguments;
  // gRPC's own pause between connection attempts (1 s, growing to 2 min) would make retries fail without having tried.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS,
                   static_cast<int>(absl::ToInt64Milliseconds(options.initial_backoff)));
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, static_cast<int>(absl::ToInt64Milliseconds(options.max_backoff)));
  return v1::MigrationControl::NewStub(grpc::CreateCustomChannel(
      options.address,
      IsEncrypted(options) ? grpc::SslCredentials({texts.ca, texts.key, texts.certificate}) : grpc::InsecureChannelCredentials(),
      arguments));
}

}  // namespace migrationcontrol
