#include "store/postgres/definition_cache.h"

#include <utility>

namespace migrationd {

DefinitionCache::Definition DefinitionCache::Find(const std::string& digest) const {
  absl::MutexLock lock(&mutex_);
  const auto found = definitions_.find(digest);
  return found == definitions_.end() ? nullptr : found->second;
}

void DefinitionCache::Keep(const std::string& digest, Definition definition) {
  absl::MutexLock lock(&mutex_);
  if (definitions_.size() >= capacity_) {
    std::erase_if(definitions_, [](const auto& entry) { return entry.second.use_count() == 1; });
  }
  // All in use: those who use them keep them alive; they are only not shared with the next reader.
  if (definitions_.size() >= capacity_) definitions_.clear();
  definitions_[digest] = std::move(definition);
}

}  // namespace migrationd
