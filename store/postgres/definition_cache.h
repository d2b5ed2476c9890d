// Definitions that were parsed already, by digest. A digest's definition never changes, so it is parsed once and
// shared.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "migrationcontrol/v1/definition.pb.h"

namespace migrationd {

// Thread-safe.
class DefinitionCache {
 public:
  using Definition = std::shared_ptr<const migrationcontrol::v1::MigrationDefinition>;

  explicit DefinitionCache(std::size_t capacity) : capacity_(capacity) {}

  // Null when it is not there.
  Definition Find(const std::string& digest) const;
  // Keeps it, and forgets others that nobody uses when there are too many.
  void Keep(const std::string& digest, Definition definition);

 private:
  const std::size_t capacity_;
  mutable absl::Mutex mutex_;
  std::map<std::string, Definition> definitions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace migrationd
