#include "store/postgres/request.h"

#include "store/mutation_rules.h"
#include "store/postgres/queries.h"
#include "store/postgres/records.h"

namespace migrationd {

absl::StatusOr<std::optional<RepeatedRequest>> BeginRequest(Transaction& transaction, const MutationContext& context,
                                                            const std::string& subject) {
  if (context.request_id.empty()) return std::nullopt;
  const std::string id = BoundText(context.request_id);
  const std::string call = BoundText(context.call);
  const std::string bound_subject = BoundText(subject);
  if (!context.validate_only && !transaction.Execute(queries::kBeginRequest, {id, call, bound_subject}).empty()) {
    transaction.Execute(queries::kPruneRequests);
    return std::nullopt;
  }
  const pqxx::result known = transaction.Execute(queries::kFindRequest, {id});
  if (known.empty()) return std::nullopt;
  const auto known_call = known[0][0].as<std::string>();
  if (known_call != call || known[0][1].as<std::string>() != bound_subject) {
    return RequestIdReused(context.request_id, known_call, known[0][1].as<std::string>());
  }
  RepeatedRequest repeated;
  if (!known[0][2].is_null()) repeated.answer = nlohmann::json::parse(known[0][2].as<std::string>());
  return repeated;
}

void AnswerRequest(Transaction& transaction, const MutationContext& context, const nlohmann::json& answer) {
  if (context.request_id.empty()) return;
  transaction.Execute(queries::kAnswerRequest, {BoundText(context.request_id), BoundJson(answer)});
}

}  // namespace migrationd
