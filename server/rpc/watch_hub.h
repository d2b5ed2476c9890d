// All open Watch streams. One thread looks at the board when it changes and writes to each stream what it has not been
// sent yet: at most one message in flight on a stream, so a slow reader gets the latest state of each migration, not
// each step.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpcpp/support/server_callback.h"
#include "migrationcontrol/v1/migration_control.pb.h"
#include "server/clock.h"
#include "server/scheduler/board.h"

namespace migrationd {

class WatchStream;

struct WatchHubOptions {
  std::size_t streams_max = 100;
  std::size_t streams_per_caller_max = 20;
  absl::Duration heartbeat = absl::Seconds(5);
  int migrations_per_message = 100;
};

// Who watches.
struct Watcher {
  std::string name;                                        // Principal::limit_key; its watches are counted together
  std::optional<std::set<std::string>> targets = {};  // what it may see; nullopt: all
  std::function<absl::Status()> holds = nullptr;      // whether it still may; null: always. Asked by the hub's thread alone
};

// Thread-safe.
class WatchHub {
 public:
  using Reactor = grpc::ServerWriteReactor<migrationcontrol::v1::WatchResponse>;

  // board and clock outlive it. `boot_id` tells this process from the ones before it: versions of the board mean
  // nothing to others.
  WatchHub(WatchHubOptions options, Board& board, Clock& clock, std::string boot_id);
  // Stops. All streams must be over by then, that is: the gRPC server is shut down.
  ~WatchHub();
  WatchHub(const WatchHub&) = delete;
  WatchHub& operator=(const WatchHub&) = delete;

  // The reactor of a new call, owned by gRPC. Ends with the error of Watcher::holds, at the latest a heartbeat after
  // there is one. Ends at once with NOT_FOUND (the migration), INVALID_ARGUMENT (resume_token), RESOURCE_EXHAUSTED
  // (too many streams, of all callers or of this one) or UNAVAILABLE (stopped).
  Reactor* Open(const migrationcontrol::v1::WatchRequest& request, const Watcher& watcher) ABSL_LOCKS_EXCLUDED(mutex_);

  // Streams that are open.
  std::size_t stream_count() const ABSL_LOCKS_EXCLUDED(mutex_);

  // The reactor of a call that is over with that error.
  static Reactor* Refuse(const absl::Status& status, const std::string& subject);

  // Ends all streams with UNAVAILABLE, so that clients call again elsewhere. Idempotent, but for one thread.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  friend class WatchStream;

  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  // Something happened on the board or on a stream.
  void Wake() ABSL_LOCKS_EXCLUDED(mutex_);

  const WatchHubOptions options_;
  Board& board_;
  Clock& clock_;
  const std::string boot_id_;
  mutable absl::Mutex mutex_;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // Added by Open, removed by the thread, which alone ends streams; an ended one belongs to gRPC.
  std::vector<WatchStream*> streams_ ABSL_GUARDED_BY(mutex_);
  std::int64_t listener_ = 0;
  std::thread thread_;
};

}  // namespace migrationd
