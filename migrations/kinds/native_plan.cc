#include "migrations/kinds/native_plan.h"

#include <exception>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "migrations/definition/sql_rules.h"
#include "migrations/kinds/batch_queries.h"
#include "migrations/kinds/columns.h"
#include "migrations/kinds/kinds.h"
#include "migrations/kinds/native.h"
#include "migrations/kinds/walked_key.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

// Calls a method of the class. What it throws ends here.
template <typename Call>
auto Guarded(const std::string& what, const Call& call) -> decltype(call()) {
  try {
    return call();
  } catch (const std::exception& error) {
    return absl::FailedPreconditionError(absl::StrCat(what, " threw: ", error.what()));
  } catch (...) {
    return absl::FailedPreconditionError(absl::StrCat(what, " threw something that is no std::exception"));
  }
}

absl::Status Naming(const std::string& class_name, const absl::Status& status) {
  return absl::FailedPreconditionError(absl::StrCat("native.class: ", class_name, ": ", std::string(status.message())));
}

// All of the table's when the class names none.
absl::StatusOr<std::vector<NativeColumn>> ColumnsOf(const NativeShape& shape, const TableFacts& table) {
  std::vector<NativeColumn> columns;
  const auto add = [&](const ColumnFacts& column) { columns.push_back({column.name, column.type, column.not_null, column.generated}); };
  if (shape.columns.empty()) {
    for (const ColumnFacts& column : table.columns) add(column);
  }
  for (const std::string& name : shape.columns) {
    MD_ASSIGN_OR_RETURN(const ColumnFacts* column, FindColumn(table, name, "native.parameters"));
    add(*column);
  }
  return columns;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const NativeMigration>> MakeNative(const NativeRegistry& natives,
                                                                  const migrationcontrol::v1::MigrationDefinition& definition) {
  const migrationcontrol::v1::Native& native = definition.native();
  return natives.Make(native.class_name(), {native.parameters().begin(), native.parameters().end()});
}

absl::StatusOr<NativeShape> ShapeOf(const NativeMigration& migration) {
  return Guarded("Shape", [&]() -> absl::StatusOr<NativeShape> { return migration.Shape(); });
}

bool NativeTellsRows(const NativeRegistry& natives, const migrationcontrol::v1::MigrationDefinition& definition) {
  const auto migration = MakeNative(natives, definition);
  if (!migration.ok()) return false;
  const auto shape = ShapeOf(**migration);
  return shape.ok() && !shape->where.empty();
}

absl::Status PlanNative(const migrationcontrol::v1::MigrationDefinition& definition, const TableFacts& table, const PlanContext& context,
                        MigrationPlan& plan) {
  NativeWork work;
  work.class_name = definition.native().class_name();
  const NativeRegistry none;
  const NativeRegistry& natives = context.natives == nullptr ? none : *context.natives;
  MD_ASSIGN_OR_RETURN(work.migration, MakeNative(natives, definition));
  const auto shape = ShapeOf(*work.migration);
  if (!shape.ok()) return Naming(work.class_name, shape.status());
  MD_ASSIGN_OR_RETURN(const std::vector<NativeColumn> its_columns, ColumnsOf(*shape, table));
  const absl::Status checked_columns = Guarded("CheckColumns", [&] { return work.migration->CheckColumns(its_columns); });
  if (!checked_columns.ok()) return Naming(work.class_name, checked_columns);

  plan.alias = table.name;
  MD_RETURN_IF_ERROR(ResolveKey(table, shape->key, "native.class: the key", plan));
  // Its condition is the users' SQL as much as that of a file is: one condition, without placeholders.
  std::string where;
  if (!shape->where.empty()) {
    ParameterNames used;
    const auto checked = CheckCondition(shape->where, {}, used);
    if (!checked.ok()) {
      return Naming(work.class_name, absl::InvalidArgumentError(absl::StrCat("its condition ", std::string(checked.status().message()))));
    }
    where = *checked;
  }
  // {{batch}} alone is the condition of the rows.
  MD_RETURN_IF_ERROR(RenderBatchQueries({"{{batch}}", where}, definition, context.name, plan));
  work.rows = std::exchange(plan.work, "");
  work.rows_first = std::exchange(plan.work_first, "");
  work.verify_rows = std::exchange(plan.verify_work, "");
  work.verify_rows_first = std::exchange(plan.verify_work_first, "");

  for (const ColumnFacts& column : table.columns) work.types[column.name] = StoringCast(column.type);
  for (std::size_t i = 0; i < plan.key.size(); ++i) work.types[plan.key[i]] = plan.key_casts[i];
  std::set<std::string> columns(plan.key.begin(), plan.key.end());
  for (const NativeColumn& column : its_columns) columns.insert(column.name);
  MD_RETURN_IF_ERROR(AddNamedColumns(table, where, columns));
  plan.column_digest = ColumnDigest(table, plan, columns);
  plan.native = std::make_shared<const NativeWork>(std::move(work));
  return absl::OkStatus();
}

}  // namespace migrationd
