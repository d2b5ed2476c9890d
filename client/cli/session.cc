#include "client/cli/session.h"

#include "absl/strings/str_cat.h"
#include "client/cli/migration_text.h"
#include "client/cli/text.h"

namespace migrationctl {

void Session::Note(const std::string& note) { err_ << "migrationctl: " << Printable(note) << std::endl; }

migrationcontrol::Client& Session::Connect(std::optional<absl::Duration> timeout) {
  if (client_ == nullptr) {
    migrationcontrol::ClientOptions options;
    options.address = options_.server;
    options.tls = options_.tls;
    options.ca_file = options_.ca_file;
    options.certificate_file = options_.certificate_file;
    options.key_file = options_.key_file;
    options.token_file = options_.token_file;
    options.allow_token_without_tls = options_.allow_token_without_tls;
    if (timeout.has_value()) options.timeout = *timeout;
    client_ = std::make_unique<migrationcontrol::Client>(options);
  }
  return *client_;
}

migrationcontrol::Client& Session::client() { return Connect(options_.timeout); }

migrationcontrol::Client& Session::waiting_client() { return Connect(std::nullopt); }

absl::StatusOr<std::string> Session::Named(const std::string& name) const {
  if (options_.target.empty()) return name;
  const std::string prefix = options_.target + "/";
  if (name.rfind(prefix, 0) == 0) return name;
  if (name.find('/') != std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", name, "\" is not on the target \"", options_.target, "\" of --target; name it once"));
  }
  return prefix + name;
}

bool Session::PrintForPrograms(const google::protobuf::Message& message) {
  if (options_.output == OutputFormat::kJson) {
    out_ << ToJson(message);
    return true;
  }
  if (options_.output == OutputFormat::kYaml) {
    out_ << ToYaml(message);
    return true;
  }
  return false;
}

void Session::PrintMigration(const google::protobuf::Message& response, const v1::Migration& migration,
                             const std::string& prefix) {
  if (PrintForPrograms(response)) return;
  if (options_.output == OutputFormat::kName) {
    out_ << Printable(FullName(migration)) << '\n';
    return;
  }
  out_ << Printable(prefix) << Printable(FullName(migration)) << ' '
       << Styled(StateWord(migration.state()), StateStyle(migration.state()), terminal_);
  if (!migration.summary().empty()) out_ << ": " << Printable(migration.summary());
  out_ << '\n';
}

}  // namespace migrationctl
