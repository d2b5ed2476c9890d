// What every statement of ours runs under, and the name under which others see it.
#pragma once

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "server/targets/target.h"

namespace migrationd {

struct SessionSettings {
  std::string search_path;
  std::string application_name;
  bool synchronous_commit = true;
  // Zero: none.
  absl::Duration lock_timeout = absl::Milliseconds(500);
  absl::Duration statement_timeout = absl::Seconds(5);
};

// SELECT set_config(...), ...: fixed text forms (key.h relies on them), the pinned search_path, limits, and no row hidden by a policy. For the
// session, or with `local` for the transaction, as behind a pooler.
std::string SettingsSql(const SessionSettings& settings, bool local, int server_version);

// How long the answer to one statement under these settings may take before the connection is given up.
absl::Duration AnswerDeadline(absl::Duration statement_timeout);

// migrationd/<first 8 hex digits of token>/<epoch>/<name>, cut to the 63 bytes that PostgreSQL keeps.
std::string ApplicationName(const FenceClaim& claim);
// The part of it that is the same for all connections of a claim, up to the last slash.
std::string ApplicationNamePrefix(const FenceClaim& claim);

}  // namespace migrationd
