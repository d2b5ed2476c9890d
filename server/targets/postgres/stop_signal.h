// A stop request as a file descriptor, so that whoever waits for a socket can wait for both.
#pragma once

#include <memory>
#include <stop_token>

#include "absl/status/statusor.h"

namespace migrationd {

// Immutable; usable from any thread. Requesting the stop does not block.
class StopSignal {
 public:
  // nullptr: a stop can never be requested of `token`. UNAVAILABLE: no descriptor is left.
  static absl::StatusOr<std::unique_ptr<StopSignal>> Make(const std::stop_token& token);
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  // Readable once the stop was requested.
  int descriptor() const { return descriptor_.number; }

 private:
  struct Descriptor {
    const int number;
    ~Descriptor();
  };
  struct Raise {
    const int descriptor;
    void operator()() const;
  };
  StopSignal(int descriptor, const std::stop_token& token)
      : descriptor_{descriptor}, callback_(token, Raise{descriptor}) {}

  const Descriptor descriptor_;
  // Last, so that it is gone, and none of its calls under way, when the descriptor is closed.
  const std::stop_callback<Raise> callback_;
};

}  // namespace migrationd
