#include "tests/support/temp_postgres.h"

#include <sys/stat.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>

namespace migrationd {
namespace {

// Owns cluster and folder for the life of the program.
struct Cluster {
  std::string directory;
  std::unique_ptr<PrivatePostgres> postgres;

  Cluster() {
    char pattern[] = "/tmp/migrationd-test-XXXXXX";
    if (mkdtemp(pattern) == nullptr) Fail("mkdtemp failed");
    directory = pattern;
    chmod(pattern, 0755);
    // Durability as in production (the protocol relies on it), everything else small.
    auto started = PrivatePostgres::Start({.directory = directory + "/pg",
                                           .settings = {"max_connections=60", "shared_buffers=64MB", "log_min_messages=fatal",
                                                        "autovacuum=off"}});
    if (!started.ok()) Fail(started.status().ToString());
    postgres = *std::move(started);
  }
  ~Cluster() {
    postgres->Stop("immediate").IgnoreError();
    std::error_code error;
    std::filesystem::remove_all(directory, error);
  }
  [[noreturn]] static void Fail(const std::string& why) {
    std::fprintf(stderr, "The test cluster cannot be started: %s\n", why.c_str());
    std::exit(1);
  }
};

}  // namespace

PrivatePostgres& TestCluster() {
  static Cluster cluster;
  return *cluster.postgres;
}

std::string FreshDatabase() {
  static std::atomic<int> next{0};
  const std::string name = "test_" + std::to_string(++next);
  const absl::Status created = TestCluster().CreateDatabase(name);
  if (!created.ok()) Cluster::Fail(created.ToString());
  return TestCluster().Url(name);
}

}  // namespace migrationd
