// Request ids: the second call with the same one does nothing.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "store/control_store.h"
#include "store/postgres/transaction.h"

namespace migrationd {

// What an earlier call with the same request id left.
struct RepeatedRequest {
  nlohmann::json answer;  // null unless AnswerRequest was called
};

// Takes context.request_id for context.call on `subject` ("migration/7"); with validate_only it is only looked up.
// nullopt: it is new, or there is none. ALREADY_EXISTS: it was used for another call or subject. Undone with the
// transaction, so a call that was refused may be made again. Throws as Transaction::Execute.
absl::StatusOr<std::optional<RepeatedRequest>> BeginRequest(Transaction& transaction, const MutationContext& context,
                                                            const std::string& subject);

// Keeps what a repeated call answers. Nothing without a request id.
void AnswerRequest(Transaction& transaction, const MutationContext& context, const nlohmann::json& answer);

}  // namespace migrationd
