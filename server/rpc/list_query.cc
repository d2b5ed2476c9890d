#include "server/rpc/list_query.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "migrations/model/status_macros.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/proto_convert.h"

namespace migrationd {
namespace {

constexpr int kPageSizeDefault = 100;
constexpr int kPageSizeMax = 1000;
constexpr std::size_t kDigestSize = 16;

// FNV-1a: tells queries apart and is the same in every process; it keeps no secret.
std::string QueryDigest(const std::string& query) {
  std::uint64_t hash = 14695981039346656037ULL;
  for (const char c : query) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  return absl::StrFormat("%016x", hash);
}

// Length before each part, so that no two lists of parts give the same text.
void AppendPart(std::string& text, const std::string& part) { absl::StrAppend(&text, part.size(), ":", part); }

}  // namespace

bool HasLabels(const Migration& migration, const std::map<std::string, std::string>& labels) {
  return std::all_of(labels.begin(), labels.end(), [&](const auto& label) {
    const auto found = migration.labels.find(label.first);
    return found != migration.labels.end() && found->second == label.second;
  });
}

std::string EncodePageToken(const std::string& query, const std::string& position) {
  std::string token;
  absl::WebSafeBase64Escape(QueryDigest(query) + position, &token);
  return token;
}

absl::StatusOr<std::string> DecodePageToken(const std::string& query, const std::string& token) {
  std::string text;
  if (!absl::WebSafeBase64Unescape(token, &text) || text.size() < kDigestSize) {
    return FieldError("page_token", "is no token of this server; send back next_page_token as it was.");
  }
  if (text.substr(0, kDigestSize) != QueryDigest(query)) {
    return FieldError("page_token",
                      "belongs to another query; repeat the query that gave it, with the same filters and order.");
  }
  return text.substr(kDigestSize);
}

absl::StatusOr<int> PageSize(std::int32_t requested) {
  if (requested < 0 || requested > kPageSizeMax) {
    return FieldError("page_size", absl::StrCat("is ", requested, "; expected 1 to ", kPageSizeMax, ", or 0 for ",
                                                kPageSizeDefault, "."));
  }
  return requested == 0 ? kPageSizeDefault : requested;
}

absl::StatusOr<ListQuery> ListQuery::Parse(const migrationcontrol::v1::ListRequest& request) {
  ListQuery query;
  MD_ASSIGN_OR_RETURN(query.page_size_, PageSize(request.page_size()));
  for (const int state : request.states()) {
    MD_ASSIGN_OR_RETURN(const State known, FromProto(static_cast<migrationcontrol::v1::State>(state)));
    query.states_.insert(known);
  }
  query.target_ = request.target();
  query.name_prefix_ = request.name_prefix();
  query.labels_ = {request.labels().begin(), request.labels().end()};

  const std::string column(absl::StripSuffix(request.order_by(), " desc"));
  query.descending_ = column.size() != request.order_by().size();
  if (column.empty() || column == "version") {
    query.order_ = Order::kVersion;
  } else if (column == "name") {
    query.order_ = Order::kName;
  } else if (column == "state") {
    query.order_ = Order::kState;
  } else if (column == "created_at") {
    query.order_ = Order::kCreatedAt;
  } else {
    return FieldError(
        "order_by",
        absl::StrCat("is \"", request.order_by(),
                     "\"; expected version, name, state or created_at, with \" desc\" behind it for the reverse."));
  }

  std::string& canonical = query.canonical_;
  absl::StrAppend(&canonical, static_cast<int>(query.order_), query.descending_ ? "-" : "+");
  for (const State state : query.states_) absl::StrAppend(&canonical, static_cast<int>(state), ",");
  AppendPart(canonical, query.target_);
  AppendPart(canonical, query.name_prefix_);
  for (const auto& [key, value] : query.labels_) {
    AppendPart(canonical, key);
    AppendPart(canonical, value);
  }
  if (request.page_token().empty()) return query;
  MD_ASSIGN_OR_RETURN(const std::string position, DecodePageToken(canonical, request.page_token()));
  const std::size_t colon = position.find(':');
  if (colon == std::string::npos || !absl::SimpleAtoi(position.substr(0, colon), &query.position_.id)) {
    return FieldError("page_token", "is no token of this server; send back next_page_token as it was.");
  }
  query.position_.text = position.substr(colon + 1);
  query.has_position_ = true;
  return query;
}

bool ListQuery::Matches(const Migration& m) const {
  return (states_.empty() || states_.count(m.state) != 0) && (target_.empty() || m.target == target_) &&
         absl::StartsWith(m.name, name_prefix_) && HasLabels(m, labels_);
}

ListQuery::SortKey ListQuery::KeyOf(const Migration& m) const {
  switch (order_) {
    case Order::kVersion:
      return {absl::StrCat(m.version, "/", m.name, "/", m.target), m.id.value};
    case Order::kName:
      return {absl::StrCat(m.name, "/", m.target), m.id.value};
    case Order::kState:
      return {absl::StrFormat("%02d/%s/%s", static_cast<int>(m.state), m.version, m.name), m.id.value};
    case Order::kCreatedAt: {
      const std::int64_t micros = m.created_at == absl::InfinitePast() ? 0 : absl::ToUnixMicros(m.created_at);
      return {absl::StrFormat("%020d", micros), m.id.value};
    }
  }
  return {"", m.id.value};
}

std::vector<const BoardEntry*> ListQuery::Select(const BoardSnapshot& snapshot) const {
  std::vector<std::pair<SortKey, const BoardEntry*>> found;
  for (const auto& [id, entry] : snapshot.migrations) {
    if (!Matches(entry.stored.migration)) continue;
    SortKey key = KeyOf(entry.stored.migration);
    if (has_position_ && !Precedes(position_, key)) continue;
    found.emplace_back(std::move(key), &entry);
  }
  const std::size_t wanted = std::min(found.size(), static_cast<std::size_t>(page_size_) + 1);
  std::partial_sort(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(wanted), found.end(),
                    [this](const auto& a, const auto& b) { return Precedes(a.first, b.first); });
  std::vector<const BoardEntry*> page;
  page.reserve(wanted);
  for (std::size_t i = 0; i < wanted; ++i) page.push_back(found[i].second);
  return page;
}

std::string ListQuery::NextToken(const BoardEntry& last) const {
  const SortKey key = KeyOf(last.stored.migration);
  return EncodePageToken(canonical_, absl::StrCat(key.id, ":", key.text));
}

}  // namespace migrationd
