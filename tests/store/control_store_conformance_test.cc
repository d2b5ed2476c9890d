#include "tests/store/control_store_conformance.h"

#include "store/postgres/postgres_control_store.h"
#include "tests/store/database.h"
#include "tests/support/in_memory_control_store.h"
#include "tests/support/next_schema.h"
#include "tests/support/temp_postgres.h"

namespace migrationd {
namespace {

class InMemoryUnderTest : public StoreUnderTest {
 public:
  ControlStore& store() override { return store_; }
  void LetTimePass(absl::Duration duration) override { store_.Advance(duration); }
  void SetReachable(bool reachable) override { store_.set_available(reachable); }

 private:
  InMemoryControlStore store_;
};

class PostgresUnderTest : public StoreUnderTest {
 public:
  // The schema is made by a program that knows `steps`.
  explicit PostgresUnderTest(const SchemaSteps* steps = nullptr) : database_(FreshDatabase()) {
    auto maker = PostgresControlStore::Create({.url = [url = database_.url()] { return url; }, .schema_steps = steps});
    if (!maker.ok() || !(*maker)->Upgrade().ok()) ADD_FAILURE() << "the schema cannot be made";
    auto store = PostgresControlStore::Create({.url = [url = database_.url()] { return url; }});
    if (!store.ok() || !(*store)->Upgrade().ok()) ADD_FAILURE() << "the store cannot be made";
    store_ = *std::move(store);
  }
  ControlStore& store() override { return *store_; }
  // Everything that is compared with the clock moves back instead of the clock moving on.
  void LetTimePass(absl::Duration duration) override {
    const std::string interval = absl::StrCat("interval '", absl::ToInt64Milliseconds(duration), " milliseconds'");
    database_.Run(absl::StrCat("UPDATE migrationd.heartbeat SET expires_at = expires_at - ", interval));
    database_.Run(absl::StrCat("UPDATE migrationd.request SET created_at = created_at - ", interval));
    database_.Run(absl::StrCat("UPDATE migrationd.freeze SET since = since - ", interval, ", until = until - ", interval));
  }
  void SetReachable(bool reachable) override { database_.SetReachable(reachable); }

 private:
  TestDatabase database_;
  std::unique_ptr<PostgresControlStore> store_;
};

INSTANTIATE_TEST_SUITE_P(Stores, ControlStoreTest,
                         ::testing::Values(StoreKind{"InMemory", [] { return std::make_unique<InMemoryUnderTest>(); }},
                                           StoreKind{"Postgres", [] { return std::make_unique<PostgresUnderTest>(); }},
                                           // This program beside the next one, or after a rollback from it.
                                           StoreKind{"PostgresOfTheNextProgram", [] { return std::make_unique<PostgresUnderTest>(&NextControlSchemaSteps()); }}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace migrationd
