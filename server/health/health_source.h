// What the scheduler asks of whoever looks after the health of targets. Implementation: HealthSampler.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "migrations/pacing/health_monitor.h"
#include "server/targets/target.h"

namespace migrationd {

// What runs of this process do on one target.
struct TargetWork {
  std::vector<std::string> tables;  // as definitions write them
  std::vector<FenceClaim> claims;   // with lanes at work, whose sub-batches may be cancelled for others
  bool allowance_used = false;      // some run has worked since it was last told so, and takes all that it is allowed
};

struct YieldNote {
  std::string target;
  Yielded yielded;
};

using HealthVerdicts = std::map<std::string, std::shared_ptr<const HealthVerdict>>;

// No method blocks.
class HealthSource {
 public:
  virtual ~HealthSource() = default;

  // The targets to look after from now on, and for what; all others are left alone.
  virtual void Watch(const std::map<std::string, TargetWork>& work) = 0;
  // The newest verdicts, of targets that are watched and have been looked at.
  virtual HealthVerdicts Verdicts() = 0;
  // Sub-batches cancelled since the last call.
  virtual std::vector<YieldNote> TakeYields() = 0;
};

}  // namespace migrationd
