// Turns the files of the catalogue folders into migrations, and notices when files come, change and go.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/control/controller.h"
#include "server/scheduler/board.h"

namespace migrationd {

// RunOnce: from one thread at a time.
class CatalogLoader {
 public:
  // `store`, `controller` and `board` outlive the loader.
  CatalogLoader(std::vector<std::string> folders, Controller& controller, ControlStore& store, Board& board);
  ~CatalogLoader();

  // Looks at every folder once. A half-written or bad file condemns only itself: it is reported on the board and tried again. A second
  // file of the same name and target condemns the later one (by path). Nothing is done before the board has been loaded.
  void RunOnce();

  // Looks every second on a thread of its own.
  void Start();
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct FileState {
    std::string stamp;    // size and times, to see changes
    std::string problem;  // empty: registered
    MigrationId id;
    std::string owner;  // target/name it stands for
  };
  void Load(const std::string& path, FileState& state, std::map<std::string, std::string>& taken);
  void ReportMissing(const std::set<std::string>& present);
  void Publish(std::vector<CatalogIssue> issues);

  const std::vector<std::string> folders_;
  Controller& controller_;
  ControlStore& store_;
  Board& board_;
  std::map<std::string, FileState> files_;
  std::vector<CatalogIssue> published_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace migrationd
