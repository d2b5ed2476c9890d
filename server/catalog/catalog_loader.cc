#include "server/catalog/catalog_loader.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "migrations/definition/definition.h"
#include "server/observability/log.h"

namespace migrationd {
namespace {

namespace fs = std::filesystem;

constexpr absl::Duration kInterval = absl::Seconds(1);
constexpr std::size_t kFileBytesMax = 256 * 1024;
constexpr std::size_t kFilesMax = 10000;

std::string StampOf(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return "";
  return absl::StrCat(info.st_ino, ".", info.st_size, ".", info.st_mtim.tv_sec, ".", info.st_mtim.tv_nsec);
}

absl::StatusOr<std::string> ReadWhole(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text(kFileBytesMax + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad() || (in.gcount() == 0 && !in.eof())) return absl::UnavailableError("the file cannot be read.");
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (text.size() > kFileBytesMax) return absl::InvalidArgumentError("the file is larger than 256 KiB.");
  return text;
}

}  // namespace

CatalogLoader::CatalogLoader(std::vector<std::string> folders, Controller& controller, ControlStore& store, Board& board)
    : folders_(std::move(folders)), controller_(controller), store_(store), board_(board) {}

CatalogLoader::~CatalogLoader() { Stop(); }

void CatalogLoader::RunOnce() {
  const auto snapshot = board_.Get();
  if (!snapshot->loaded || !snapshot->store_reachable) return;
  std::vector<CatalogIssue> issues;
  std::vector<std::string> paths;
  bool whole = true;  // a folder that cannot be listed says nothing about its files
  for (const std::string& folder : folders_) {
    std::error_code error;
    for (fs::directory_iterator it(folder, error), end; !error && it != end && paths.size() < kFilesMax; it.increment(error)) {
      const std::string name = it->path().filename();
      if (name.ends_with(".yaml") && !name.starts_with(".")) paths.push_back(it->path());
    }
    if (error) {
      whole = false;
      issues.push_back({folder, absl::StrCat("the folder cannot be read: ", error.message())});
    }
  }
  std::sort(paths.begin(), paths.end());
  std::map<std::string, std::string> taken;  // target/name -> file
  std::set<std::string> present;
  for (const std::string& path : paths) {
    present.insert(path);
    FileState& state = files_[path];
    const std::string stamp = StampOf(path);
    if (state.stamp == stamp && state.problem.empty() && !state.owner.empty() && taken.count(state.owner) == 0) {
      taken[state.owner] = path;
      continue;
    }
    const std::string before = state.problem;
    state.stamp = stamp;
    Load(path, state, taken);
    if (!state.problem.empty()) {
      issues.push_back({path, state.problem});
      if (state.problem != before) Log(LogLevel::kWarning, "definition_refused", {{"file", path}, {"reason", state.problem}});
    }
  }
  for (auto it = files_.begin(); it != files_.end();) it = present.count(it->first) == 0 ? files_.erase(it) : std::next(it);
  if (whole) ReportMissing(present);
  Publish(std::move(issues));
}

void CatalogLoader::Load(const std::string& path, FileState& state, std::map<std::string, std::string>& taken) {
  state.problem.clear();
  state.owner.clear();
  const std::string file_name = fs::path(path).filename();
  const auto name = ParseFileName(file_name);
  if (!name.ok()) {
    state.problem = std::string(name.status().message());
    return;
  }
  const auto text = ReadWhole(path);
  if (!text.ok()) {
    state.problem = std::string(text.status().message());
    return;
  }
  const DefinitionResult parsed = ParseDefinition(*text);
  if (!parsed.ok()) {
    state.problem = FormatProblem(file_name, parsed.problems.front());
    if (parsed.problems.size() > 1) absl::StrAppend(&state.problem, " (and ", parsed.problems.size() - 1, " more)");
    return;
  }
  const std::string owner = absl::StrCat(parsed.definition.target(), "/", name->name);
  if (const auto other = taken.find(owner); other != taken.end()) {
    state.problem = absl::StrCat("the migration ", owner, " comes from ", other->second, " already; rename one of the two files.");
    return;
  }
  const auto registered = controller_.RegisterCatalogFile(path, *name, parsed.definition, parsed.start_given);
  if (!registered.ok()) {
    state.problem = std::string(registered.status().message());
    return;
  }
  state.owner = owner;
  state.id = registered->migration.migration.id;
  taken[owner] = path;
  if (registered->created) Log(LogLevel::kInfo, "migration_registered", {{"migration", name->name}, {"file", path}});
}

void CatalogLoader::ReportMissing(const std::set<std::string>& present) {
  std::vector<MigrationId> missing;
  std::vector<MigrationId> back;
  const auto snapshot = board_.Get();
  for (const auto& [id, entry] : snapshot->migrations) {
    const Migration& m = entry.stored.migration;
    if (m.catalog_file.empty()) continue;
    const bool here = present.count(m.catalog_file) != 0;
    if (!here && !m.catalog_missing) missing.push_back(m.id);
    if (here && m.catalog_missing) back.push_back(m.id);
  }
  if (missing.empty() && back.empty()) return;
  const absl::Status status = store_.SetCatalogMissing(missing, back);
  if (!status.ok()) Log(LogLevel::kWarning, "catalog_not_recorded", {{"status", status.ToString()}});
}

void CatalogLoader::Publish(std::vector<CatalogIssue> issues) {
  const auto same = [](const CatalogIssue& a, const CatalogIssue& b) { return a.file == b.file && a.message == b.message; };
  if (std::equal(issues.begin(), issues.end(), published_.begin(), published_.end(), same)) return;
  published_ = issues;
  board_.Edit([&](BoardSnapshot& board) { board.catalog_issues = issues; });
}

void CatalogLoader::Start() {
  if (folders_.empty()) return;
  thread_ = std::thread([this] {
    while (true) {
      RunOnce();
      absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(&stopping_), kInterval);
      if (stopping_) return;
    }
  });
}

void CatalogLoader::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

}  // namespace migrationd
