// PHYSICAL: ranges of places in the table's file, in the order of the disk.
//
// A position is the file (relfilenode) and the place of a row version in it (ctid). A place means nothing in another file: once the table
// was rewritten (VACUUM FULL, CLUSTER, TRUNCATE), Range is false and NextBound finds nothing, so the pass ends at once. What it left out is
// VERIFY's, like every row whose new version went to a place behind the cursor, or beyond the end that the file had at the start.
//
// VERIFY walks the key of the rows. In the order of the disk it could not conclude anything: an UPDATE by anybody may move a row that still
// matches from a place that is still to come to one that was passed. A key stays.
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "migrations/kinds/columns.h"
#include "migrations/kinds/identifiers.h"
#include "migrations/kinds/walk_strategy.h"

namespace migrationd {
namespace {

// What the look-up of a bound reads at most without finding a row, besides one block for each row that is wanted: 2 MB.
constexpr int kEmptyBlocks = 256;

class Physical : public WalkStrategy {
 public:
  std::string_view name() const override { return "PHYSICAL"; }
  WalkTraits traits() const override { return {.work_moves_rows = true}; }
  const WalkStrategy& verify() const override { return KeysetStrategy(); }

  absl::Status Resolve(const TableFacts& table, const WalkRequest& request, MigrationPlan& plan) const override {
    const auto refuse = [&](const std::string& why) {
      return absl::FailedPreconditionError(absl::StrCat(request.kind, ".strategy: PHYSICAL ", why));
    };
    if (!request.has_where) return refuse("needs `where`, which tells rows that were done from rows that moved; write it, or use KEYSET");
    if (table.partitioned) {
      return refuse(absl::StrCat("walks one file, but ", TableText(table),
                                 " is partitioned; migrate its partitions one by one, or use KEYSET over all of them"));
    }
    if (table.inherited) {
      return refuse(absl::StrCat("walks one file, but other tables inherit from ", TableText(table), "; use KEYSET"));
    }
    plan.row_key = plan.key;
    plan.row_key_casts = plan.key_casts;
    plan.key = {"relfilenode", "ctid"};
    plan.key_types = {KeyType::kBigint, KeyType::kTid};
    plan.key_casts = {"bigint", "tid"};
    plan.key_collations = {0, 0};
    return absl::OkStatus();
  }

  // The comparison of files is of constants, so it is made once, after the table was locked: no rewrite can come in between.
  std::string Range(const MigrationPlan& plan, bool first) const override {
    return absl::StrCat(Places(plan, first), " AND ", SameFile(plan), KeyBounds(plan));
  }

  // The places within the next blocks, block by block and no further than needed; or the end of those blocks where they hold fewer rows. An
  // ORDER BY over all places that are left would sort the rest of the table, since a scan of places has no order that the planner knows.
  std::string NextBound(const MigrationPlan& plan, bool first) const override {
    const std::string size = absl::StrCat("$", 2 * plan.key.size() + 1, "::bigint");
    const std::string place = OnAlias(plan, {"ctid"})[0];
    const std::string rows_of_block = absl::StrCat("SELECT ", place, " AS md_place", FromTable(plan), " WHERE ", Places(plan, first), " AND ",
                                                   place, " >= ", PlaceAt("md_s.md_block", "0"), " AND ", place, " < ",
                                                   PlaceAt("md_s.md_block + 1", "0"), " ORDER BY ", place);
    return absl::StrCat(
        "WITH md_walk AS MATERIALIZED (SELECT coalesce("
        "(SELECT md_r.md_place FROM (SELECT generate_series(md_w.md_from, md_w.md_last) AS md_block) AS md_s CROSS JOIN LATERAL (",
        rows_of_block, ") AS md_r OFFSET ", size, " - 1 LIMIT 1), CASE WHEN md_w.md_last < md_w.md_end THEN ", PlaceAt("md_w.md_last", "65535"),
        " END) AS md_place FROM (SELECT md_b.md_from, md_b.md_end, least(md_b.md_from + ", size, " + ", kEmptyBlocks,
        ", md_b.md_end) AS md_last FROM (SELECT ", BlockOf("$2"), " AS md_from, least(", BlockOf("$4"), ", ", Blocks(plan),
        " - 1) AS md_end) AS md_b) AS md_w WHERE ", SameFile(plan),
        ") SELECT $1::bigint::text, md_walk.md_place::text FROM md_walk WHERE md_walk.md_place IS NOT NULL");
  }

  // Equal numbers of blocks.
  std::string LaneBounds(const MigrationPlan& plan) const override {
    return absl::StrCat(
        "SELECT md_f.md_file::text, md_l.md_place FROM (SELECT ", File(plan), " AS md_file, ", Blocks(plan),
        " AS md_blocks) AS md_f CROSS JOIN LATERAL (SELECT 0::bigint AS md_lane, '(0,0)' AS md_place UNION ALL SELECT md_i, '(' || "
        "md_f.md_blocks * md_i / least($1::bigint, md_f.md_blocks) - 1 || ',65535)' FROM generate_series(1, least($1::bigint, md_f.md_blocks)) "
        "AS md_i) AS md_l WHERE md_f.md_blocks > 0 ORDER BY md_l.md_lane");
  }

 private:
  static std::string Places(const MigrationPlan& plan, bool first) {
    const std::string place = OnAlias(plan, {"ctid"})[0];
    return absl::StrCat(place, first ? " >= " : " > ", "$2::tid AND ", place, " <= $4::tid");
  }
  static std::string Table(const MigrationPlan& plan) { return absl::StrCat(plan.table_oid, "::oid::regclass"); }
  static std::string File(const MigrationPlan& plan) {
    return absl::StrCat("pg_catalog.pg_relation_filenode(", Table(plan), ")::bigint");
  }
  static std::string SameFile(const MigrationPlan& plan) {
    return absl::StrCat(File(plan), " = $1::bigint AND ", File(plan), " = $3::bigint");
  }
  static std::string Blocks(const MigrationPlan& plan) {
    return absl::StrCat("pg_catalog.pg_relation_size(", Table(plan), ") / pg_catalog.current_setting('block_size')::bigint");
  }
  static std::string BlockOf(const std::string& place) { return absl::StrCat("split_part(ltrim(", place, "::tid::text, '('), ',', 1)::bigint"); }
  static std::string PlaceAt(const std::string& block, const std::string& offset) {
    return absl::StrCat("('(' || ", block, " || ',", offset, ")')::tid");
  }

  // min_key and max_key are bounds of rows, not of places.
  static std::string KeyBounds(const MigrationPlan& plan) {
    std::string conditions;
    const std::string row = absl::StrCat("(", absl::StrJoin(OnAlias(plan, plan.row_key), ", "), ")");
    for (const auto& [comparison, bound] : {std::pair<const char*, const Key*>{" >= ", &plan.min_key}, {" <= ", &plan.max_key}}) {
      std::vector<std::string> values;
      for (std::size_t i = 0; i < bound->size(); ++i) {
        values.push_back(absl::StrCat(QuoteLiteral((*bound)[i]), "::", plan.row_key_casts[i]));
      }
      if (!values.empty()) absl::StrAppend(&conditions, " AND ", row, comparison, "(", absl::StrJoin(values, ", "), ")");
    }
    return conditions;
  }
};

}  // namespace

const WalkStrategy& PhysicalStrategy() {
  static const Physical strategy;
  return strategy;
}

}  // namespace migrationd
