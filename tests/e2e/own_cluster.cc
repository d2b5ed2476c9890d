#include "tests/e2e/own_cluster.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/str_replace.h"
#include "tests/support/status_matchers.h"

namespace migrationd {

OwnCluster::OwnCluster() {
  auto started = PrivatePostgres::Start(
      {.directory = folder_.path() + "/pg",
       .settings = {"shared_buffers=32MB", "max_connections=60", "autovacuum=off", "log_min_messages=fatal"}});
  EXPECT_THAT(started, IsOk());
  if (started.ok()) postgres_ = *std::move(started);
}

OwnCluster::~OwnCluster() {
  if (postgres_ != nullptr) postgres_->Stop("immediate").IgnoreError();
}

std::string OwnCluster::Database(const std::string& name) {
  MD_EXPECT_OK(postgres_->CreateDatabase(name));
  return postgres_->Url(name);
}

std::string OwnCluster::UrlAs(const std::string& role, const std::string& database) const {
  return absl::StrReplaceAll(postgres_->Url(database), {{"user=postgres", "user=" + role}});
}

std::unique_ptr<PrivatePostgres> OwnCluster::MakeStandby(const std::string& name) {
  const auto binaries = PrivatePostgres::FindBinaries();
  EXPECT_THAT(binaries, IsOk());
  if (!binaries.ok()) return nullptr;
  const std::string directory = folder_.path() + "/" + name;
  const auto copied = RunCommand({*binaries + "/pg_basebackup", "--pgdata=" + directory + "/data", "--write-recovery-conf",
                                  "--wal-method=stream", "--checkpoint=fast", "--dbname=" + postgres_->Url() + "&application_name=" + name});
  EXPECT_THAT(copied, IsOk());
  if (!copied.ok() || copied->exit_status != 0) {
    ADD_FAILURE() << (copied.ok() ? copied->err : "");
    return nullptr;
  }
  // The server may run as another user than the test.
  EXPECT_THAT(RunCommand({"/bin/chown", "-R", "--reference=" + folder_.path() + "/pg/data", directory + "/data"}), IsOk());
  auto started = PrivatePostgres::Start({.directory = directory, .settings = {"max_connections=60", "log_min_messages=fatal"}});
  EXPECT_THAT(started, IsOk());
  return started.ok() ? *std::move(started) : nullptr;
}

void OwnCluster::Crash() { MD_EXPECT_OK(postgres_->Stop("immediate")); }
void OwnCluster::Restart() { MD_EXPECT_OK(postgres_->Restart()); }

void OwnCluster::Backup() {
  MD_EXPECT_OK(postgres_->Stop());
  Copy("/pg/data", "/backup");
  Restart();
}

void OwnCluster::Restore() {
  MD_EXPECT_OK(postgres_->Stop());
  std::filesystem::remove_all(folder_.path() + "/pg/data");
  Copy("/backup", "/pg/data");
  Restart();
}

// By cp, which keeps owners: the server may run as another user than the test.
void OwnCluster::Copy(const std::string& from, const std::string& to) {
  const auto copied = RunCommand({"/bin/cp", "-a", folder_.path() + from, folder_.path() + to});
  ASSERT_THAT(copied, IsOk());
  ASSERT_EQ(copied->exit_status, 0) << copied->err;
}

}  // namespace migrationd
