#include "server/options/options.h"

#include <yaml-cpp/yaml.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <iostream>
#include <regex>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "migrations/model/status_macros.h"
#include "server/options/health_options.h"

#ifndef MIGRATIOND_VERSION
#define MIGRATIOND_VERSION "unknown"
#endif

namespace migrationd {
namespace {

// One value with the place it came from, for messages.
struct Value {
  std::string text;
  std::string place;
};

using Setter = std::function<absl::Status(Options&, const std::string& text)>;

struct OptionSpec {
  std::string name;     // as a flag, without dashes; `_` for `-` in the file; MIGRATIOND_ and upper case in the environment
  std::string metavar;  // empty: a switch
  std::string help;
  Setter set;
  bool repeatable = false;
  bool value_optional = false;
};

absl::Status Wrong(const std::string& text, const std::string& expected) {
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not valid; expected ", expected, "."));
}

absl::StatusOr<bool> ParseSwitch(const std::string& text) {
  if (text == "true" || text == "yes" || text == "on" || text == "1") return true;
  if (text == "false" || text == "no" || text == "off" || text == "0") return false;
  return Wrong(text, "true or false");
}

Setter Text(std::string Options::*field, std::string expected) {
  return [field, expected](Options& options, const std::string& text) -> absl::Status {
    if (text.empty()) return Wrong(text, expected);
    options.*field = text;
    return absl::OkStatus();
  };
}

Setter Switch(bool Options::*field) {
  return [field](Options& options, const std::string& text) -> absl::Status {
    MD_ASSIGN_OR_RETURN(options.*field, ParseSwitch(text));
    return absl::OkStatus();
  };
}

Setter Number(int Options::*field, int least, int most) {
  return [=](Options& options, const std::string& text) -> absl::Status {
    int value = 0;
    if (!absl::SimpleAtoi(text, &value) || value < least || value > most) {
      return Wrong(text, absl::StrCat("a whole number from ", least, " to ", most));
    }
    options.*field = value;
    return absl::OkStatus();
  };
}

absl::Status SetListen(Options& options, const std::string& text) {
  static const std::regex kAddress(R"((unix:.+|(\[[0-9a-fA-F:]+\]|[A-Za-z0-9_.-]+):[0-9]{1,5}))");
  if (!std::regex_match(text, kAddress)) return Wrong(text, "HOST:PORT, [IPV6]:PORT or unix:PATH");
  options.listen = text;
  return absl::OkStatus();
}

absl::Status SetHttpListen(Options& options, const std::string& text) {
  static const std::regex kAddress(R"((\[[0-9a-fA-F:]+\]|[0-9.]+|localhost):[0-9]{1,5})");
  if (text == "off") {
    options.http_listen.clear();
    return absl::OkStatus();
  }
  if (!std::regex_match(text, kAddress)) return Wrong(text, "IP:PORT, [IPV6]:PORT, localhost:PORT or off");
  options.http_listen = text;
  return absl::OkStatus();
}

absl::Status SetControlUrl(Options& options, const std::string& text) {
  MD_RETURN_IF_ERROR(CheckDatabaseUrl(text));
  options.control_url = text;
  return absl::OkStatus();
}

absl::Status CheckTargetName(const std::string& name) {
  static const std::regex kName("[a-z][a-z0-9_-]{0,62}");
  if (!std::regex_match(name, kName)) return Wrong(name, "a target name like main or billing_eu: [a-z][a-z0-9_-]{0,62}");
  return absl::OkStatus();
}

absl::Status SetTarget(Options& options, const std::string& name, const std::string& url) {
  MD_RETURN_IF_ERROR(CheckTargetName(name));
  TargetOptions target = options.targets[name];
  target.url.clear();
  target.url_file.clear();
  if (url.starts_with("@")) {
    target.url_file = url.substr(1);
    if (target.url_file.empty()) return Wrong(url, "@FILE");
  } else {
    MD_RETURN_IF_ERROR(CheckDatabaseUrl(url));
    target.url = url;
  }
  options.targets[name] = target;
  return absl::OkStatus();
}

absl::Status SetTargetPair(Options& options, const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos) return absl::InvalidArgumentError("expected NAME=URL or NAME=@FILE.");
  return SetTarget(options, text.substr(0, equals), text.substr(equals + 1));
}

absl::Status SetLeaseTtl(Options& options, const std::string& text) {
  absl::Duration ttl;
  if (!absl::ParseDuration(text, &ttl) || ttl < absl::Seconds(1) || ttl > absl::Minutes(5)) return Wrong(text, "a duration from 1s to 5m");
  options.lease_ttl = ttl;
  return absl::OkStatus();
}

absl::Status SetAnonymousRole(Options& options, const std::string& text) {
  static const std::map<std::string, Role> kRoles = {{"none", Role::kNone},
                                                              {"viewer", Role::kViewer},
                                                              {"operator", Role::kOperator},
                                                              {"admin", Role::kAdmin}};
  const auto found = kRoles.find(text);
  if (found == kRoles.end()) return Wrong(text, "none, viewer, operator or admin");
  options.anonymous_role = found->second;
  return absl::OkStatus();
}

absl::Status SetDefaultStart(Options& options, const std::string& text) {
  if (text != "AUTO" && text != "MANUAL") return Wrong(text, "AUTO or MANUAL");
  options.default_start_manual = text == "MANUAL";
  return absl::OkStatus();
}

absl::Status SetLogLevel(Options& options, const std::string& text) {
  static const std::map<std::string, LogLevel> kLevels = {
      {"debug", LogLevel::kDebug}, {"info", LogLevel::kInfo}, {"warning", LogLevel::kWarning}, {"error", LogLevel::kError}};
  const auto found = kLevels.find(text);
  if (found == kLevels.end()) return Wrong(text, "debug, info, warning or error");
  options.log_level = found->second;
  return absl::OkStatus();
}

absl::Status SetLogFormat(Options& options, const std::string& text) {
  if (text != "json" && text != "text") return Wrong(text, "json or text");
  options.log_format = text == "json" ? LogFormat::kJson : LogFormat::kText;
  return absl::OkStatus();
}

absl::Status SetDev(Options& options, const std::string& text) {
  if (text == "false" || text == "no" || text == "off") {
    options.dev = false;
    return absl::OkStatus();
  }
  options.dev = true;
  options.dev_directory = (text.empty() || text == "true" || text == "yes" || text == "on") ? "" : text;
  return absl::OkStatus();
}

absl::Status AddMigrations(Options& options, const std::string& text) {
  if (text.empty()) return Wrong(text, "a folder");
  options.migrations.push_back(text);
  return absl::OkStatus();
}

const std::vector<OptionSpec>& Specs() {
  static const std::vector<OptionSpec> specs = {
      {"listen", "ADDRESS", "gRPC address: HOST:PORT, [IPV6]:PORT or unix:PATH (default 127.0.0.1:50051)", SetListen},
      {"http-listen", "ADDRESS", "address of /metrics, /healthz and /readyz: IP:PORT, or off (default 127.0.0.1:9464)", SetHttpListen},
      {"control-url", "URL", "PostgreSQL URL of the control store; visible in the process list, so prefer --control-url-file", SetControlUrl},
      {"control-url-file", "FILE", "file with that URL, read again on every new connection", Text(&Options::control_url_file, "a file name")},
      {"target", "NAME=URL", "a database to migrate: NAME=URL or NAME=@FILE; repeatable; also MIGRATIOND_TARGET_<NAME>", SetTargetPair, true},
      {"migrations", "DIR", "folder with definition files; repeatable", AddMigrations, true},
      {"dev", "DIR", "run a private PostgreSQL in DIR as control store, and as target main unless --target names one", SetDev, false, true},
      {"lease-ttl", "DURATION", "how long a claim lasts without renewal: 1s to 5m (default 15s)", SetLeaseTtl},
      {"workers", "N", "threads that run sub-batches: 1 to 256 (default 16)", Number(&Options::workers, 1, 256)},
      {"max-running-per-target", "N", "migrations that may work on one target at once: 1 to 64 (default 2)",
       Number(&Options::max_running_per_target, 1, 64)},
      {"tls-cert", "FILE", "server certificate with its chain, PEM; read again when it is replaced", Text(&Options::tls_certificate, "a file name")},
      {"tls-key", "FILE", "its key, PEM", Text(&Options::tls_key, "a file name")},
      {"tls-client-ca", "FILE", "demand client certificates of this authority (mutual TLS)", Text(&Options::tls_client_ca, "a file name")},
      {"tokens", "FILE", "who may call with which role, by hashed token or certificate; read again when it changes",
       Text(&Options::credentials, "a file name")},
      {"anonymous-role", "ROLE",
       "what callers may do without credentials: none, viewer, operator or admin (default: admin on loopback, viewer elsewhere)", SetAnonymousRole},
      {"allow-inline-definitions", "", "let Enqueue bring definitions along (default: only with --dev)",
       Switch(&Options::allow_inline_definitions)},
      {"default-start", "MODE", "AUTO, or MANUAL: batched kinds that do not say otherwise wait for Start (default AUTO)", SetDefaultStart},
      {"no-auto-upgrade", "", "do not create or upgrade the control store's schema at start; see the command upgrade",
       [](Options& options, const std::string& text) -> absl::Status {
         MD_ASSIGN_OR_RETURN(const bool off, ParseSwitch(text));
         options.auto_upgrade = !off;
         return absl::OkStatus();
       }},
      {"log-level", "LEVEL", "debug, info, warning or error (default info)", SetLogLevel},
      {"log-format", "FORMAT", "json or text (default text)", SetLogFormat},
  };
  return specs;
}

std::string EnvironmentName(const std::string& option) {
  return absl::StrCat("MIGRATIOND_", absl::AsciiStrToUpper(absl::StrReplaceAll(option, {{"-", "_"}})));
}

// Values by option name; several for repeatable ones.
using Values = std::map<std::string, std::vector<Value>>;

std::string PlaceOf(const std::string& file, const YAML::Mark& mark) {
  return absl::StrCat(file, ":", mark.line + 1, ":", mark.column + 1);
}

absl::Status BadFile(const std::string& place, const std::string& key, const std::string& message) {
  return absl::InvalidArgumentError(absl::StrCat(place, ": ", key, key.empty() ? "" : ": ", message));
}

absl::Status ReadTargetNode(const std::string& file, const std::string& name, const YAML::Node& node, Options& options) {
  const std::string key = absl::StrCat("targets.", name);
  if (node.IsScalar()) {
    const absl::Status set = SetTarget(options, name, node.Scalar());
    return set.ok() ? set : BadFile(PlaceOf(file, node.Mark()), key, std::string(set.message()));
  }
  if (!node.IsMap()) return BadFile(PlaceOf(file, node.Mark()), key, "expected a URL, @FILE, or a map with url or url_file.");
  std::string url;
  TargetOptions target;
  for (const auto& entry : node) {
    const std::string field = entry.first.Scalar();
    const std::string place = PlaceOf(file, entry.first.Mark());
    if (field == "url" && entry.second.IsScalar()) {
      url = entry.second.Scalar();
    } else if (field == "url_file" && entry.second.IsScalar()) {
      url = "@" + entry.second.Scalar();
    } else if (field == "search_path" && entry.second.IsSequence()) {
      target.search_path.clear();
      for (const auto& schema : entry.second) target.search_path.push_back(schema.Scalar());
    } else if (field == "health") {
      MD_RETURN_IF_ERROR(ReadHealthNode(file, absl::StrCat(key, ".health"), entry.second, target.health));
    } else {
      return BadFile(place, absl::StrCat(key, ".", field), "is not known or has the wrong form; expected url, url_file, search_path or health.");
    }
  }
  // Its URL may stand elsewhere: in the environment, where it can come from a Secret.
  const absl::Status set = url.empty() ? CheckTargetName(name) : SetTarget(options, name, url);
  if (!set.ok()) return BadFile(PlaceOf(file, node.Mark()), key, std::string(set.message()));
  options.targets[name].search_path = target.search_path;
  options.targets[name].health = target.health;
  return absl::OkStatus();
}

absl::Status ReadEntry(const std::string& file, const std::string& key, const YAML::Node& place_node, const YAML::Node& node, Values& values,
                       Options& options) {
  const std::string place = PlaceOf(file, place_node.Mark());
  if (key == "targets") {
    if (!node.IsMap()) return BadFile(place, key, "expected a map of names to URLs.");
    for (const auto& target : node) MD_RETURN_IF_ERROR(ReadTargetNode(file, target.first.Scalar(), target.second, options));
    return absl::OkStatus();
  }
  const std::string name = absl::StrReplaceAll(key, {{"_", "-"}});
  const auto spec = std::find_if(Specs().begin(), Specs().end(), [&](const OptionSpec& s) { return s.name == name && s.name != "target"; });
  if (spec == Specs().end()) return BadFile(place, key, "is not an option; `migrationd --help` lists them (with - for _).");
  if (node.IsScalar()) {
    values[name].push_back({node.Scalar(), absl::StrCat(place, ": ", key)});
  } else if (node.IsSequence() && spec->repeatable) {
    for (const auto& item : node) values[name].push_back({item.Scalar(), absl::StrCat(PlaceOf(file, item.Mark()), ": ", key)});
  } else {
    return BadFile(place, key, spec->repeatable ? "expected a value or a list of values." : "expected one value.");
  }
  return absl::OkStatus();
}

absl::Status ReadFile(const std::string& file, Values& values, Options& options) {
  try {
    const YAML::Node root = YAML::LoadFile(file);
    if (root.IsNull()) return absl::OkStatus();
    if (!root.IsMap()) return BadFile(PlaceOf(file, root.Mark()), "", "expected a map of options.");
    std::set<std::string> seen;
    for (const auto& entry : root) {
      if (!entry.first.IsScalar()) return BadFile(PlaceOf(file, entry.first.Mark()), "", "expected an option's name.");
      if (!seen.insert(entry.first.Scalar()).second) {
        return BadFile(PlaceOf(file, entry.first.Mark()), entry.first.Scalar(), "stands here a second time.");
      }
      MD_RETURN_IF_ERROR(ReadEntry(file, entry.first.Scalar(), entry.first, entry.second, values, options));
    }
    return absl::OkStatus();
  } catch (const YAML::BadFile&) {
    return BadFile(file, "", "the file cannot be read.");
  } catch (const YAML::Exception& error) {
    return BadFile(PlaceOf(file, error.mark), "", error.msg);
  }
}

absl::Status Apply(const OptionSpec& spec, const std::vector<Value>& values, Options& options) {
  for (const Value& value : values) {
    const absl::Status set = spec.set(options, value.text);
    if (!set.ok()) return absl::InvalidArgumentError(absl::StrCat(value.place, ": ", std::string(set.message())));
  }
  return absl::OkStatus();
}

// What only the whole tells.
absl::Status CheckTogether(Options& options, bool role_given, bool inline_given, Command command) {
  if (options.tls_certificate.empty() != options.tls_key.empty()) {
    return absl::InvalidArgumentError("--tls-cert and --tls-key belong together; give both or neither.");
  }
  if (!options.tls_client_ca.empty() && options.tls_certificate.empty()) {
    return absl::InvalidArgumentError("--tls-client-ca needs --tls-cert and --tls-key: there are no client certificates without TLS.");
  }
  if (!role_given && !IsLoopback(options.listen)) options.anonymous_role = Role::kViewer;
  if (!inline_given && options.dev) options.allow_inline_definitions = true;
  if (!options.control_url.empty() && !options.control_url_file.empty()) {
    return absl::InvalidArgumentError("--control-url and --control-url-file exclude each other.");
  }
  if (!options.dev && options.control_url.empty() && options.control_url_file.empty()) {
    return absl::InvalidArgumentError("no control store: give --control-url-file FILE or --control-url URL, or --dev to try things out.");
  }
  if (!options.dev && options.targets.empty() && command != Command::kUpgrade) {
    return absl::InvalidArgumentError("no target: give --target NAME=@FILE or NAME=URL at least once, or --dev to try things out.");
  }
  for (const auto& [name, target] : options.targets) {
    const bool by_dev = options.dev && name == kDevTarget;
    if (!target.url.empty() || !target.url_file.empty() || by_dev) continue;
    return absl::InvalidArgumentError(absl::StrCat("targets.", name, ": it has no URL: give url or url_file there, --target ", name,
                                                   "=@FILE, or MIGRATIOND_TARGET_", absl::AsciiStrToUpper(name), "."));
  }
  return absl::OkStatus();
}

}  // namespace

bool IsLoopback(const std::string& listen) {
  return listen.starts_with("unix:") || listen.starts_with("127.") || listen.starts_with("localhost:") || listen.starts_with("[::1]:");
}

absl::StatusOr<ParsedOptions> ParseOptions(int argc, const char* const* argv, const std::map<std::string, std::string>& environment) {
  ParsedOptions parsed;
  CLI::App app{"migrationd runs long data migrations against live PostgreSQL databases: in batches, throttled, resumable, exactly once."};
  app.name("migrationd");
  app.footer(
      "Each option can also stand in the environment (MIGRATIOND_LISTEN for --listen) and in the file of --config (listen: ...).\n"
      "A flag outranks the environment, the environment outranks the file. A bad configuration exits with 78.\n\n"
      "Example: migrationd --dev --migrations ./migrations");
  app.set_version_flag("--version", std::string("migrationd ") + MIGRATIOND_VERSION);
  std::string config_file;
  app.add_option("--config", config_file, "YAML file of options; also MIGRATIOND_CONFIG")->type_name("FILE");
  bool print_config = false;
  bool check_config = false;
  app.add_flag("--print-config", print_config, "print the effective configuration, passwords redacted, and exit");
  app.add_flag("--check-config", check_config, "check the configuration, and the files and folders that it names, and exit");
  CLI::App* upgrade = app.add_subcommand("upgrade", "create or upgrade the schema of the control store, and exit");
  upgrade->footer(
      "Additive steps are also made by every server at its start (without --no-auto-upgrade), and leave the previous minor version working.\n"
      "--contract also takes away what that one used, from the control store and from the targets, so that it can no longer be rolled back\n"
      "to: run it once all servers are new and stay so. It is refused while an older server is connected to the control store; it may be\n"
      "repeated.");
  upgrade->fallthrough();
  upgrade->add_flag("--contract", parsed.contract,
                    "also take away what only older versions use, here and in the schema migration_control of all targets");
  std::map<std::string, std::vector<std::string>> flags;
  for (const OptionSpec& spec : Specs()) {
    if (spec.metavar.empty()) {
      app.add_flag_function("--" + spec.name, [&flags, name = spec.name](std::int64_t) { flags[name] = {"true"}; }, spec.help);
      continue;
    }
    CLI::Option* option = app.add_option("--" + spec.name, flags[spec.name], spec.help)->type_name(spec.metavar);
    option->expected(spec.value_optional ? 0 : 1, 1);
    if (spec.repeatable) option->expected(1)->take_all();
  }
  try {
    app.parse(argc, const_cast<char**>(argv));
  } catch (const CLI::ParseError& error) {
    parsed.command = Command::kExit;
    parsed.exit_status = app.exit(error, std::cout, std::cerr) == 0 ? 0 : 2;
    return parsed;
  }
  if (config_file.empty() && environment.count("MIGRATIOND_CONFIG") != 0) config_file = environment.at("MIGRATIOND_CONFIG");
  Values values;
  if (!config_file.empty()) MD_RETURN_IF_ERROR(ReadFile(config_file, values, parsed.options));
  bool role_given = false;
  bool inline_given = false;
  for (const OptionSpec& spec : Specs()) {
    std::vector<Value> chosen = values[spec.name];
    if (const auto found = environment.find(EnvironmentName(spec.name)); found != environment.end() && spec.name != "target") {
      chosen.clear();
      // Folders are separated by colons, as in PATH.
      const std::vector<std::string> parts = spec.repeatable ? absl::StrSplit(found->second, ':') : std::vector<std::string>{found->second};
      for (const std::string& part : parts) chosen.push_back({part, EnvironmentName(spec.name)});
    }
    if (spec.name == "target") {
      constexpr char kPrefix[] = "MIGRATIOND_TARGET_";
      for (const auto& [name, url] : environment) {
        if (!name.starts_with(kPrefix)) continue;
        const absl::Status set = SetTarget(parsed.options, absl::AsciiStrToLower(name.substr(sizeof(kPrefix) - 1)), url);
        if (!set.ok()) return absl::InvalidArgumentError(absl::StrCat(name, ": ", std::string(set.message())));
      }
    }
    const bool dev_without_value = spec.value_optional && app.get_option("--" + spec.name)->count() > 0 && flags[spec.name].empty();
    if (dev_without_value) flags[spec.name] = {""};
    if (!flags[spec.name].empty()) {
      chosen.clear();
      for (const std::string& text : flags[spec.name]) chosen.push_back({text, "--" + spec.name});
    }
    role_given = role_given || (spec.name == "anonymous-role" && !chosen.empty());
    inline_given = inline_given || (spec.name == "allow-inline-definitions" && !chosen.empty());
    MD_RETURN_IF_ERROR(Apply(spec, chosen, parsed.options));
  }
  if (upgrade->parsed()) parsed.command = Command::kUpgrade;
  MD_RETURN_IF_ERROR(CheckTogether(parsed.options, role_given, inline_given, parsed.command));
  if (print_config) parsed.command = Command::kPrintConfig;
  if (check_config) parsed.command = Command::kCheckConfig;
  return parsed;
}

std::string PrintConfig(const Options& options) {
  static const char* const kRoles[] = {"none", "viewer", "operator", "admin"};
  static const char* const kLevels[] = {"debug", "info", "warning", "error"};
  YAML::Emitter out;
  out << YAML::BeginMap;
  out << YAML::Key << "listen" << YAML::Value << options.listen;
  out << YAML::Key << "http_listen" << YAML::Value << (options.http_listen.empty() ? "off" : options.http_listen);
  if (!options.tls_certificate.empty()) out << YAML::Key << "tls_cert" << YAML::Value << options.tls_certificate;
  if (!options.tls_key.empty()) out << YAML::Key << "tls_key" << YAML::Value << options.tls_key;
  if (!options.tls_client_ca.empty()) out << YAML::Key << "tls_client_ca" << YAML::Value << options.tls_client_ca;
  if (!options.credentials.empty()) out << YAML::Key << "tokens" << YAML::Value << options.credentials;
  if (!options.control_url.empty()) out << YAML::Key << "control_url" << YAML::Value << RedactUrl(options.control_url);
  if (!options.control_url_file.empty()) out << YAML::Key << "control_url_file" << YAML::Value << options.control_url_file;
  if (!options.targets.empty()) {
    out << YAML::Key << "targets" << YAML::Value << YAML::BeginMap;
    for (const auto& [name, target] : options.targets) {
      out << YAML::Key << name << YAML::Value << YAML::BeginMap;
      if (!target.url.empty()) out << YAML::Key << "url" << YAML::Value << RedactUrl(target.url);
      if (!target.url_file.empty()) out << YAML::Key << "url_file" << YAML::Value << target.url_file;
      out << YAML::Key << "search_path" << YAML::Value << YAML::Flow << target.search_path;
      out << YAML::Key << "health" << YAML::Value;
      EmitHealth(target.health, out);
      out << YAML::EndMap;
    }
    out << YAML::EndMap;
  }
  if (!options.migrations.empty()) out << YAML::Key << "migrations" << YAML::Value << YAML::Flow << options.migrations;
  if (options.dev) out << YAML::Key << "dev" << YAML::Value << (options.dev_directory.empty() ? "true" : options.dev_directory);
  out << YAML::Key << "lease_ttl" << YAML::Value << absl::FormatDuration(options.lease_ttl);
  out << YAML::Key << "workers" << YAML::Value << options.workers;
  out << YAML::Key << "max_running_per_target" << YAML::Value << options.max_running_per_target;
  out << YAML::Key << "anonymous_role" << YAML::Value << kRoles[static_cast<int>(options.anonymous_role)];
  out << YAML::Key << "allow_inline_definitions" << YAML::Value << options.allow_inline_definitions;
  out << YAML::Key << "default_start" << YAML::Value << (options.default_start_manual ? "MANUAL" : "AUTO");
  out << YAML::Key << "no_auto_upgrade" << YAML::Value << !options.auto_upgrade;
  out << YAML::Key << "log_level" << YAML::Value << kLevels[static_cast<int>(options.log_level)];
  out << YAML::Key << "log_format" << YAML::Value << (options.log_format == LogFormat::kJson ? "json" : "text");
  out << YAML::EndMap;
  return std::string(out.c_str()) + "\n";
}

}  // namespace migrationd
