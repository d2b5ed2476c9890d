// What List asks for: filters, order, and pages that stay stable while migrations change. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "migrationcontrol/v1/migration_control.pb.h"
#include "server/scheduler/board.h"

namespace migrationd {

// Whether `labels` are all there, with these values.
bool HasLabels(const Migration& migration, const std::map<std::string, std::string>& labels);

// An opaque token for the rest of a query: `query` is what the token is good for, `position` where to go on.
std::string EncodePageToken(const std::string& query, const std::string& position);
// The position. INVALID_ARGUMENT when it is damaged or belongs to another query.
absl::StatusOr<std::string> DecodePageToken(const std::string& query, const std::string& token);

// 1 to 1000; 0 means 100. INVALID_ARGUMENT otherwise.
absl::StatusOr<int> PageSize(std::int32_t requested);

class ListQuery {
 public:
  // INVALID_ARGUMENT: page_size, an unknown state or order, a page_token of another query.
  static absl::StatusOr<ListQuery> Parse(const migrationcontrol::v1::ListRequest& request);

  // The entries of this page, in order, and one more when there is a next page. They live as long as `snapshot`.
  std::vector<const BoardEntry*> Select(const BoardSnapshot& snapshot) const;
  int page_size() const { return page_size_; }
  // For the page after the one that ends with `last`.
  std::string NextToken(const BoardEntry& last) const;

 private:
  enum class Order { kVersion, kName, kState, kCreatedAt };
  // Sorts as text; the id makes it unique.
  struct SortKey {
    std::string text;
    std::int64_t id = 0;
    friend bool operator<(const SortKey& a, const SortKey& b) {
      return a.text != b.text ? a.text < b.text : a.id < b.id;
    }
  };

  bool Matches(const Migration& migration) const;
  SortKey KeyOf(const Migration& migration) const;
  // Behind `b` in the order asked for.
  bool Precedes(const SortKey& a, const SortKey& b) const { return descending_ ? b < a : a < b; }

  int page_size_ = 0;
  std::set<State> states_;
  std::string target_;
  std::string name_prefix_;
  std::map<std::string, std::string> labels_;
  Order order_ = Order::kVersion;
  bool descending_ = false;
  std::string canonical_;  // the query without page_size and token
  bool has_position_ = false;
  SortKey position_;
};

}  // namespace migrationd
