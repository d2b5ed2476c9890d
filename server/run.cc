// migrationd: options -> wiring -> signals -> orderly stop. No decisions here.
#include "server/run.h"

#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "migrations/kinds/native.h"
#include "migrations/model/status_macros.h"
#include "server/build_info.h"
#include "server/catalog/catalog_loader.h"
#include "server/clock.h"
#include "server/control/controller.h"
#include "server/dev/private_postgres.h"
#include "server/execution/worker_pool.h"
#include "server/health/sampler.h"
#include "server/observability/admin_server.h"
#include "server/observability/board_metrics.h"
#include "server/observability/log.h"
#include "server/observability/metric_families.h"
#include "server/observability/metrics.h"
#include "server/observability/process_metrics.h"
#include "server/observability/service_metrics.h"
#include "server/options/options.h"
#include "server/rpc/credential_file.h"
#include "server/rpc/reloader.h"
#include "server/rpc/server.h"
#include "server/rpc/server_certificates.h"
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
    absl::StatusOr<std::string> found = ReadUrlFile(file);
    // It may be right the next time, whatever is wrong with it now.
    if (!found.ok()) return absl::UnavailableError(std::string(found.status().message()));
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
  TargetOptions& main = options.targets[kDevTarget];
  if (main.url.empty() && main.url_file.empty()) {
    MD_RETURN_IF_ERROR(postgres->CreateDatabase(kDevTargetDatabase));
    main.url = postgres->Url(kDevTargetDatabase);
  }
  Log(LogLevel::kInfo, "dev_postgres", {{"directory", postgres_options.directory}, {"target_main", RedactUrl(main.url)}});
  return postgres;
}

absl::StatusOr<std::unique_ptr<PostgresControlStore>> MakeStore(const Options& options, int connections, const std::string& name) {
  PostgresControlStoreOptions store_options;
  store_options.url = UrlProvider(options.control_url, options.control_url_file);
  store_options.max_connections = connections;
  store_options.application_name = name;
  return PostgresControlStore::Create(std::move(store_options));
}

std::map<std::string, std::shared_ptr<PostgresTarget>> MakeTargets(const Options& options) {
  std::map<std::string, std::shared_ptr<PostgresTarget>> targets;
  for (const auto& [name, target] : options.targets) {
    PostgresTargetOptions target_options;
    target_options.name = name;
    target_options.search_path = target.search_path;
    target_options.url = UrlProvider(target.url, target.url_file);
    targets[name] = std::make_shared<PostgresTarget>(std::move(target_options));
  }
  return targets;
}

// The control store first: it is what refuses while older servers are about. One target that fails keeps no other from its turn.
int Upgrade(const Options& options, bool contract) {
  const auto store = MakeStore(options, 1, "migrationd upgrade");
  absl::Status status = store.status();
  if (status.ok()) status = contract ? (*store)->UpgradeAndContract() : (*store)->Upgrade();
  if (!status.ok()) {
    std::cerr << "migrationd upgrade: " << status.message() << "\n";
    return 1;
  }
  std::cout << "The schema of the control store is up to date.\n";
  if (!contract) return 0;
  int exit_status = 0;
  for (const auto& [name, target] : MakeTargets(options)) {
    const absl::StatusOr<bool> there = target->ContractSchema();
    if (!there.ok()) {
      std::cerr << "migrationd upgrade: target " << name << ": " << there.status().message() << "\n";
      exit_status = 1;
    } else {
      std::cout << "Target " << name << (*there ? ": its schema is up to date.\n" : ": there is no schema migration_control yet.\n");
    }
  }
  return exit_status;
}

// Waits for SIGTERM or SIGINT, which every thread has blocked. Meanwhile SIGUSR1 logs everything, and SIGUSR2 what was configured; SIGHUP,
// which many daemons take for a reload, changes nothing here.
void AwaitSignal(const sigset_t& signals, LogLevel configured) {
  while (true) {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0) continue;
    if (signal == SIGHUP) {
      Log(LogLevel::kInfo, "hangup_ignored", {{"reason", "URLs, tokens, certificates and definitions are read again by themselves; options need a restart"}});
      continue;
    }
    if (signal == SIGUSR1 || signal == SIGUSR2) {
      SetLogLevel(signal == SIGUSR1 ? LogLevel::kDebug : configured);
      Log(LogLevel::kInfo, "log_level_changed", {{"level", signal == SIGUSR1 ? "debug" : "as configured"}});
      continue;
    }
    Log(LogLevel::kInfo, "stopping", {{"signal", signal == SIGTERM ? "SIGTERM" : "SIGINT"}});
    return;
  }
}

// Who callers are: certificate and credentials, read again when they change.
struct Identities {
  std::shared_ptr<ServerCertificates> certificates;  // null: plain text
  std::unique_ptr<CredentialFile> credentials;       // null: nobody is known
  std::vector<std::function<void()>> refresh;
};

absl::StatusOr<Identities> ReadIdentities(const Options& options) {
  Identities identities;
  if (!options.tls_certificate.empty()) {
    MD_ASSIGN_OR_RETURN(identities.certificates,
                        ServerCertificates::Open({options.tls_certificate, options.tls_key, options.tls_client_ca}));
    identities.refresh.emplace_back([certificates = identities.certificates] { certificates->Refresh(); });
  }
  if (!options.credentials.empty()) {
    MD_ASSIGN_OR_RETURN(identities.credentials, CredentialFile::Open(options.credentials, options.anonymous_role));
    identities.refresh.emplace_back([credentials = identities.credentials.get()] { credentials->Refresh(); });
  }
  return identities;
}

// What an operator should know who did not mean it.
void WarnOfOpenDoors(const Options& options) {
  if (IsLoopback(options.listen) || !options.tls_certificate.empty()) return;
  Log(LogLevel::kWarning, "plaintext",
      {{"listen", options.listen}, {"why", "connections are neither encrypted nor authenticated; see --tls-cert"}});
  if (!options.credentials.empty()) {
    Log(LogLevel::kWarning, "tokens_in_plaintext", {{"why", "whoever can read the network can read the tokens of callers; see --tls-cert"}});
  }
}

// Everything that GET /metrics shows.
std::vector<prometheus::MetricFamily> CollectMetrics(const Metrics& metrics, const Board& board, const RpcServer& server,
                                                     const Identities& identities, Clock& clock) {
  std::vector<prometheus::MetricFamily> families = metrics.Collect();
  const auto add = [&](std::vector<prometheus::MetricFamily> more) {
    families.insert(families.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  };
  add(BoardMetrics(*board.Get(), clock.Now()));
  CertificateFacts certificate;
  if (identities.certificates != nullptr) {
    certificate = {identities.certificates->Get()->not_after, identities.certificates->reloads(), identities.certificates->refusals(),
                   identities.certificates->refused()};
  }
  const ListenerCounts counts = server.connection_counts();
  add(ServiceMetrics({.version = Version(),
                      .revision = Revision(),
                      .watch_streams = static_cast<int>(server.watch_count()),
                      .certificate = certificate,
                      .credentials_refused = identities.credentials == nullptr ? std::nullopt : std::optional(identities.credentials->refused()),
                      .connections = {counts.open, counts.refused_limit, counts.refused_host_limit, counts.refused_descriptors}}));
  add(ProcessMetrics());
  return families;
}

AdminPages PagesOf(const Metrics& metrics, const Board& board, const RpcServer& server, const Identities& identities, Clock& clock) {
  AdminPages pages;
  pages.metrics = [&] { return CollectMetrics(metrics, board, server, identities, clock); };
  pages.healthy = [&server] { return server.CheckAlive(); };
  pages.ready = [&board]() -> absl::Status {
    const auto snapshot = board.Get();
    if (!snapshot->loaded) return absl::UnavailableError(absl::StrCat("the control store has not been read yet. ", snapshot->store_error));
    if (!snapshot->store_reachable) return absl::UnavailableError(absl::StrCat("the control store cannot be reached: ", snapshot->store_error));
    return absl::OkStatus();
  };
  return pages;
}

absl::Status Serve(Options options, const Identities& identities, const sigset_t& signals, const NativeRegistry& natives) {
  const std::string identity = ProcessIdentity();
  MD_ASSIGN_OR_RETURN(const auto dev_postgres, StartDevPostgres(options));
  // Over before that PostgreSQL is stopped, which takes its time. When it fires, that PostgreSQL stays behind; the next start in the
  // same folder takes care of it.
  std::optional<StopDeadline> stop_deadline;
  MD_ASSIGN_OR_RETURN(const auto store, MakeStore(options, 6, "migrationd control"));
  MD_ASSIGN_OR_RETURN(const auto heartbeat_store, MakeStore(options, 1, "migrationd heartbeat"));
  const auto postgres_targets = MakeTargets(options);
  const TargetMap targets(postgres_targets.begin(), postgres_targets.end());
  Clock& clock = Clock::Real();
  Board board;
  Metrics metrics;
  WorkerPool workers(options.workers);
  WorkerPool steps(PolicyLimits().runs);

  std::map<std::string, HealthLimits> health_limits;
  for (const auto& [name, target] : options.targets) health_limits[name] = target.health;
  HealthSampler health(targets, std::move(health_limits), clock);

  SchedulerOptions scheduler_options;
  scheduler_options.health = &health;
  scheduler_options.owner = identity;
  scheduler_options.lease_ttl = options.lease_ttl;
  scheduler_options.limits.per_target = options.max_running_per_target;
  for (const auto& [name, target] : options.targets) scheduler_options.target_search_path[name] = target.search_path;
  scheduler_options.natives = &natives;
  scheduler_options.prepare_store = [&store, upgrade = options.auto_upgrade] { return upgrade ? store->Upgrade() : store->CheckSchema(); };
  ControllerOptions controller_options;
  controller_options.target_search_path = scheduler_options.target_search_path;
  Scheduler scheduler(std::move(scheduler_options), *store, *heartbeat_store, targets, board, workers, steps, metrics, clock);

  controller_options.allow_inline_definitions = options.allow_inline_definitions;
  controller_options.default_start_manual = options.default_start_manual;
  controller_options.natives = &natives;
  Controller controller(controller_options, *store, board, targets, scheduler, clock);
  CatalogLoader catalog(options.migrations, controller, *store, board);

  RpcServerOptions rpc_options;
  rpc_options.listen = options.listen;
  rpc_options.anonymous_role = options.anonymous_role;
  rpc_options.certificates = identities.certificates;
  rpc_options.credentials = identities.credentials.get();
  RpcServer server(rpc_options, controller, board, metrics, clock);
  MD_RETURN_IF_ERROR(server.Start());
  std::unique_ptr<AdminServer> admin;
  if (!options.http_listen.empty()) {
    MD_ASSIGN_OR_RETURN(admin, AdminServer::Start(options.http_listen, PagesOf(metrics, board, server, identities, clock)));
  }
  const Reloader reloader(identities.refresh);
  WarnOfOpenDoors(options);
  scheduler.Start();
  catalog.Start();
  Log(LogLevel::kInfo, "serving", {{"listen", options.listen}, {"http_listen", options.http_listen}, {"identity", identity},
                                   {"tls", options.tls_certificate.empty() ? "no" : options.tls_client_ca.empty() ? "yes" : "mutual"},
                                   {"native_classes", absl::StrJoin(natives.names(), " ")}});

  AwaitSignal(signals, options.log_level);
  stop_deadline.emplace(kStopLimit);
  catalog.Stop();
  server.Shutdown(kRpcDrain);
  scheduler.Stop(kSchedulerDrain);
  Log(LogLevel::kInfo, "stopped");
  return absl::OkStatus();
}

// A file that is wrong or absent is so at the next start, too, unlike one whose disk does not answer.
int Fail(const absl::Status& status, bool of_configuration) {
  std::cerr << "migrationd: " << status.message() << "\n";
  return of_configuration && !absl::IsUnavailable(status) ? kExitBadConfiguration : 1;
}

// All that the options name, as far as it can be told without a database.
int CheckConfiguration(const Options& options) {
  absl::Status status = CheckFiles(options);
  if (status.ok()) status = ReadIdentities(options).status();
  if (!status.ok()) {
    std::cerr << "migrationd: " << status.message() << "\n";
    return kExitBadConfiguration;
  }
  std::cout << "The configuration is valid.\n";
  return 0;
}

}  // namespace

int RunMigrationd(int argc, char** argv, const NativeRegistry& natives) {
  // Before any library can start a thread: what is blocked here is blocked in all of them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGUSR1);
  sigaddset(&signals, SIGUSR2);
  sigaddset(&signals, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);

  if (!natives.status().ok()) {
    std::cerr << "migrationd: " << natives.status().message() << "\n";
    return kExitBadConfiguration;
  }
  const auto parsed = ParseOptions(argc, argv, Environment());
  if (!parsed.ok()) {
    std::cerr << "migrationd: " << parsed.status().message() << "\n";
    return kExitBadConfiguration;
  }
  ConfigureLog(parsed->options.log_format, parsed->options.log_level);
  switch (parsed->command) {
    case Command::kExit: return parsed->exit_status;
    case Command::kPrintConfig: std::cout << PrintConfig(parsed->options); return 0;
    case Command::kCheckConfig: return CheckConfiguration(parsed->options);
    case Command::kUpgrade: return Upgrade(parsed->options, parsed->contract);
    case Command::kServe: break;
  }
  const absl::StatusOr<Identities> identities = ReadIdentities(parsed->options);
  if (!identities.ok()) return Fail(identities.status(), /*of_configuration=*/true);
  const absl::Status status = Serve(parsed->options, *identities, signals, natives);
  return status.ok() ? 0 : Fail(status, /*of_configuration=*/false);
}

}  // namespace migrationd
