// Every setting of migrationd: one table of options, read from flags, environment and a YAML file, in that precedence.
#pragma once

#include <iosfwd>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "migrations/pacing/signals.h"
#include "server/observability/log.h"

namespace migrationd {

// What a bad configuration exits with (EX_CONFIG of sysexits.h).
inline constexpr int kExitBadConfiguration = 78;
// The target that --dev makes.
inline constexpr char kDevTarget[] = "main";

// What a caller may do; each may do what those before it may. Stored nowhere, so the order may change.
enum class Role { kNone, kViewer, kOperator, kAdmin };

struct TargetOptions {
  std::string url;       // or:
  std::string url_file;  // read again on every new connection
  std::vector<std::string> search_path = {"public"};
  HealthLimits health;
};

struct Options {
  std::string listen = "127.0.0.1:50051";
  std::string http_listen = "127.0.0.1:9464";  // empty: none
  std::string tls_certificate;                 // PEM files; empty: plain text
  std::string tls_key;
  std::string tls_client_ca;  // empty: clients need no certificate
  std::string credentials;    // --tokens: who may call with which role; empty: nobody is known
  std::string control_url;
  std::string control_url_file;
  std::map<std::string, TargetOptions> targets;
  std::vector<std::string> migrations;  // catalogue folders
  bool dev = false;
  std::string dev_directory;  // empty with dev: the default folder
  absl::Duration lease_ttl = absl::Seconds(15);
  int workers = 16;
  int max_running_per_target = 2;
  Role anonymous_role = Role::kAdmin;
  bool allow_inline_definitions = false;
  bool default_start_manual = false;
  bool auto_upgrade = true;
  LogLevel log_level = LogLevel::kInfo;
  LogFormat log_format = LogFormat::kText;
};

enum class Command { kServe, kUpgrade, kPrintConfig, kCheckConfig, kExit };

struct ParsedOptions {
  Command command = Command::kServe;
  bool contract = false;  // with kUpgrade: also take away what the programs before this one no longer use
  Options options;
  int exit_status = 0;  // with kExit: --help, --version (0) or a usage error
};

// Reads the command line and the given environment. INVALID_ARGUMENT for a bad configuration, with the place: `--flag`, `MIGRATIOND_X` or
// `FILE:LINE:COL: key`.
absl::StatusOr<ParsedOptions> ParseOptions(int argc, const char* const* argv, const std::map<std::string, std::string>& environment);

// The effective configuration as YAML, passwords redacted.
std::string PrintConfig(const Options& options);

// INVALID_ARGUMENT when libpq would take a part of the password for something else, and name it in its errors: a / @ : or the like in it that
// is not percent-encoded. Looks at URLs only; the key=value form passes as it is, where `pairs_too`. Messages hold nothing of the URL.
absl::Status CheckDatabaseUrl(const std::string& url, bool pairs_too = false);

// What a file that holds a URL says now, without blanks around it. NOT_FOUND, PERMISSION_DENIED, UNAVAILABLE: it cannot be read, with the
// system's reason. INVALID_ARGUMENT: CheckDatabaseUrl. Each names the file, none what is in it.
absl::StatusOr<std::string> ReadUrlFile(const std::string& file);

// The files and folders of databases and definitions that the options name: each there, readable, and as it should be. Errors name the
// option; codes as above.
absl::Status CheckFiles(const Options& options);

// True for 127.0.0.0/8, [::1], localhost and unix sockets.
bool IsLoopback(const std::string& listen);

}  // namespace migrationd
