// A migrationd with a class of its own; the README prints it.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "migrationd/native.h"
#include "migrationd/run.h"

// Fills column `to` with the text of column `from`, backwards.
class ReverseText final : public migrationd::NativeMigration {
 public:
  static absl::StatusOr<std::unique_ptr<migrationd::NativeMigration>> Make(migrationd::NativeParameters& parameters) {
    auto made = std::make_unique<ReverseText>();
    made->from_ = parameters.Column("from");  // checked when the definition is loaded, and all that is wrong is reported at once
    made->to_ = parameters.Column("to");
    return made;
  }

  migrationd::NativeShape Shape() const override {
    return {.where = migrationd::QuoteIdentifier(to_) + " IS NULL AND " + migrationd::QuoteIdentifier(from_) + " IS NOT NULL",
            .columns = {from_, to_}};
  }

  absl::StatusOr<std::int64_t> RunSubBatch(migrationd::NativeBatch& batch) const override {
    absl::StatusOr<std::vector<migrationd::NativeRow>> rows = batch.Select({from_});  // key columns, then `from`; locked
    if (!rows.ok()) return rows.status();
    for (migrationd::NativeRow& row : *rows) {
      if (row.back() == "poison") return migrationd::BadRowError("that text cannot be turned round");
      std::reverse(row.back()->begin(), row.back()->end());
    }
    return batch.Update({to_}, *rows);  // key columns, then the new value
  }

 private:
  std::string from_;
  std::string to_;
};

int main(int argc, char** argv) {
  migrationd::NativeRegistry natives;
  natives.Add("reverse_text", ReverseText::Make);
  return migrationd::RunMigrationd(argc, argv, natives);
}
