#include "server/targets/postgres/bounded_query.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "migrations/model/status_macros.h"

namespace migrationd {

absl::Status AskWithin(Connection& connection, absl::Duration patience, const std::function<absl::Status()>& ask, bool undo) {
  if (patience <= absl::ZeroDuration()) return absl::DeadlineExceededError("there was no time left for it");
  const std::int64_t milliseconds = std::max<std::int64_t>(1, absl::ToInt64Milliseconds(patience));
  MD_RETURN_IF_ERROR(connection
                         .Query(absl::StrCat("SAVEPOINT md_ask; SELECT pg_catalog.set_config('statement_timeout', '", milliseconds,
                                             "', true)"))
                         .status());
  absl::Status asked = ask();
  if (connection.broken()) return asked;
  const bool keep = asked.ok() && !undo;
  const char* const end = keep ? "RELEASE SAVEPOINT md_ask" : "ROLLBACK TO SAVEPOINT md_ask; RELEASE SAVEPOINT md_ask";
  const absl::Status ended = connection.Query(end).status();
  return ended.ok() ? asked : ended;
}

}  // namespace migrationd
