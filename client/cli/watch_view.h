// What `watch` shows: the migrations as last heard, redrawn in place on a terminal, otherwise one line a change.
#pragma once

#include <map>
#include <ostream>
#include <string>

#include "absl/time/time.h"
#include "client/cli/terminal.h"
#include "migrationcontrol/v1/migration_control.pb.h"

namespace migrationctl {

namespace v1 = migrationcontrol::v1;

class WatchView {
 public:
  explicit WatchView(std::ostream& out) : out_(out) {}

  // Takes in an answer and draws. `terminal` is as of now: its size may change.
  void Update(const v1::WatchResponse& response, absl::Time now, const Terminal& terminal);

 private:
  struct Shown {
    v1::Migration migration;
    std::string line;  // as last printed, where lines are appended
  };

  void Redraw(absl::Time now, const Terminal& terminal);
  void AppendChanges(const v1::WatchResponse& response, absl::Time now);

  std::ostream& out_;
  std::map<std::string, Shown> shown_;  // by full name
  std::size_t lines_drawn_ = 0;
};

}  // namespace migrationctl
