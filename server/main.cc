// migrationd: options -> wiring -> signals -> orderly stop. No decisions here.
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <sstream>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "migrations/model/status_macros.h"
#include "server/catalog/catalog_loader.h"
#include "server/clock.h"
#include "server/control/controller.h"
#include "server/dev/private_postgres.h"
#include "server/execution/worker_pool.h"
#include "server/observability/log.h"
#include "server/options/options.h"
#include "server/rpc/server.h"
#include "server/scheduler/board.h"
#include "server/scheduler/scheduler.h"
#include "server/stop_deadline.h"
#include "server/targets/postgres/postgres_target.h"
#include "store/postgres/postgres_control_store.h"

extern char** environ;

namespace migrationd {
namespace {

// SIGTERM to exit: at most 10 s, of which the sub-batches in flight get the most.
constexpr absl::Duration kRpcDrain = absl::Seconds(2);
constexpr absl::Duration kSchedulerDrain = absl::Seconds(6);
constexpr absl::Duration kStopLimit = absl::Milliseconds(9500);
constexpr char kDevControlDatabase[] = "control";
constexpr char kDevTargetDatabase[] = "main";

std::map<std::string, std::string> Environment() {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const std::size_t equals = text.find('=');
    if (equals != std::string::npos) variables[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return variables;
}

// host:pid:random, never the same twice.
std::string ProcessIdentity() {
  char host[256] = "unknown";
  gethostname(host, sizeof(host) - 1);
  std::random_device random;
  return absl::StrFormat("%s:%d:%08x", host, getpid(), random());
}

// Where the URL comes from each time it is needed: as given, or from the file as it is then.
std::function<absl::StatusOr<std::string>()> UrlProvider(const std::string& url, const std::string& file) {
  if (file.empty()) return [url]() -> absl::StatusOr<std::string> { return url; };
  return [file]() -> absl::StatusOr<std::string> {
    std::ifstream in(file);
    std::stringstream text;
    text << in.rdbuf();
    const std::string found(absl::StripAsciiWhitespace(text.str()));
    if (!in || found.empty()) return absl::UnavailableError(absl::StrCat("no URL can be read from ", file, "."));
    return found;
  };
}

std::string DefaultDevDirectory() {
  if (geteuid() == 0) return "/var/lib/migrationd/dev";
  if (const char* state = std::getenv("XDG_STATE_HOME"); state != nullptr && *state != '\0') return absl::StrCat(state, "/migrationd/dev");
  const char* home = std::getenv("HOME");
  return absl::StrCat(home == nullptr ? "." : home, "/.local/state/migrationd/dev");
}

// --dev: a private PostgreSQL, with its URLs put where none was given.
absl::StatusOr<std::unique_ptr<PrivatePostgres>> StartDevPostgres(Options& options) {
  if (!options.dev) return nullptr;
  PrivatePostgresOptions postgres_options;
  postgres_options.directory = options.dev_directory.empty() ? DefaultDevDirectory() : options.dev_directory;
  postgres_options.settings = {"max_connections=100"};
  MD_ASSIGN_OR_RETURN(auto postgres, PrivatePostgres::Start(postgres_options));
  if (options.control_url.empty() && options.control_url_file.empty()) {
    MD_RETURN_IF_ERROR(postgres->CreateDatabase(kDevControlDatabase));
    options.control_url = postgres->Url(kDevControlDatabase);
  }
  if (options.targets.count("main") == 0) {
    MD_RETURN_IF_ERROR(postgres->CreateDatabase(kDevTargetDatabase));
    options.targets["main"].url = postgres->Url(kDevTargetDatabase);
  }
  Log(LogLevel::kInfo, "dev_postgres", {{"directory", postgres_options.directory}, {"target_main", options.targets["main"].url}});
  return postgres;
}

absl::StatusOr<std::unique_ptr<ControlStore>> MakeStore(const Options& options, int connections, const std::string& name) {
  PostgresControlStoreOptions store_options;
  store_options.url = UrlProvider(options.control_url, options.control_url_file);
  store_options.max_connections = connections;
  store_options.application_name = name;
  return PostgresControlStore::Create(std::move(store_options));
}

TargetMap MakeTargets(const Options& options) {
  TargetMap targets;
  for (const auto& [name, target] : options.targets) {
    PostgresTargetOptions target_options;
    target_options.name = name;
    target_options.search_path = target.search_path;
    target_options.url = UrlProvider(target.url, target.url_file);
    targets[name] = std::make_shared<PostgresTarget>(std::move(target_options));
  }
  return targets;
}

int Upgrade(const Options& options) {
  auto store = MakeStore(options, 1, "migrationd upgrade");
  absl::Status status = store.ok() ? (*store)->Upgrade() : store.status();
  if (!status.ok()) {
    std::cerr << "migrationd upgrade: " << status.message() << "\n";
    return 1;
  }
  std::cout << "The schema of the control store is up to date.\n";
  return 0;
}

// Waits for SIGTERM or SIGINT, which every thread has blocked.
void AwaitSignal(const sigset_t& signals) {
  int signal = 0;
  while (sigwait(&signals, &signal) != 0) {
  }
  Log(LogLevel::kInfo, "stopping", {{"signal", signal == SIGTERM ? "SIGTERM" : "SIGINT"}});
}

absl::Status Serve(Options options, const sigset_t& signals) {
  const std::string identity = ProcessIdentity();
  MD_ASSIGN_OR_RETURN(const auto dev_postgres, StartDevPostgres(options));
  // Over before that PostgreSQL is stopped, which takes its time. When it fires, that PostgreSQL stays behind; the next start in the
  // same folder takes care of it.
  std::optional<StopDeadline> stop_deadline;
  MD_ASSIGN_OR_RETURN(const auto store, MakeStore(options, 6, "migrationd control"));
  MD_ASSIGN_OR_RETURN(const auto heartbeat_store, MakeStore(options, 1, "migrationd heartbeat"));
  const TargetMap targets = MakeTargets(options);
  Clock& clock = Clock::Real();
  Board board;
  WorkerPool workers(options.workers);
  WorkerPool steps(PolicyLimits().runs);

  SchedulerOptions scheduler_options;
  scheduler_options.owner = identity;
  scheduler_options.lease_ttl = options.lease_ttl;
  scheduler_options.limits.per_target = options.max_running_per_target;
  for (const auto& [name, target] : options.targets) scheduler_options.target_search_path[name] = target.search_path;
  scheduler_options.prepare_store = [&store, upgrade = options.auto_upgrade] { return upgrade ? store->Upgrade() : store->CheckSchema(); };
  Scheduler scheduler(std::move(scheduler_options), *store, *heartbeat_store, targets, board, workers, steps, clock);

  ControllerOptions controller_options;
  controller_options.allow_inline_definitions = options.allow_inline_definitions;
  controller_options.default_start_manual = options.default_start_manual;
  Controller controller(controller_options, *store, board, targets, scheduler, clock);
  CatalogLoader catalog(options.migrations, controller, *store, board);

  RpcServerOptions rpc_options;
  rpc_options.listen = options.listen;
  rpc_options.anonymous_role = options.anonymous_role;
  RpcServer server(rpc_options, controller, board, clock);
  MD_RETURN_IF_ERROR(server.Start());
  if (!IsLoopback(options.listen)) {
    Log(LogLevel::kWarning, "plaintext", {{"listen", options.listen}, {"why", "connections are neither encrypted nor authenticated"}});
  }
  scheduler.Start();
  catalog.Start();
  Log(LogLevel::kInfo, "serving", {{"listen", options.listen}, {"identity", identity}});

  AwaitSignal(signals);
  stop_deadline.emplace(kStopLimit);
  catalog.Stop();
  server.Shutdown(kRpcDrain);
  scheduler.Stop(kSchedulerDrain);
  Log(LogLevel::kInfo, "stopped");
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  // Before any library can start a thread: what is blocked here is blocked in all of them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);

  const auto parsed = ParseOptions(argc, argv, Environment());
  if (!parsed.ok()) {
    std::cerr << "migrationd: " << parsed.status().message() << "\n";
    return kExitBadConfiguration;
  }
  ConfigureLog(parsed->options.log_format, parsed->options.log_level);
  switch (parsed->command) {
    case Command::kExit: return parsed->exit_status;
    case Command::kPrintConfig: std::cout << PrintConfig(parsed->options); return 0;
    case Command::kCheckConfig: std::cout << "The configuration is valid.\n"; return 0;
    case Command::kUpgrade: return Upgrade(parsed->options);
    case Command::kServe: break;
  }
  const absl::Status status = Serve(parsed->options, signals);
  if (status.ok()) return 0;
  std::cerr << "migrationd: " << status.message() << "\n";
  return 1;
}

}  // namespace
}  // namespace migrationd

int main(int argc, char** argv) { return migrationd::Main(argc, argv); }
