#include "absl/strings/str_cat.h"
#include "server/rpc/list_query.h"
#include "tests/server/rpc/rpc_world.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string Version(int i) { return absl::StrCat("202611200930", i / 10, i % 10); }

std::vector<std::string> Names(const v1::ListResponse& response) {
  std::vector<std::string> names;
  for (const v1::Migration& m : response.migrations()) names.push_back(m.name());
  return names;
}

class ListTest : public ::testing::Test {
 protected:
  v1::ListResponse List(const v1::ListRequest& request) {
    const auto [status, response] = Call(world_, &Stub::List, request);
    EXPECT_THAT(status, IsGrpcOk());
    return response;
  }
  RpcWorld world_;
};

TEST_F(ListTest, FiltersMustAllMatch) {
  world_.Add("backfill_a", Version(1), "labels: {team: ci}\n");
  world_.Add("backfill_b", Version(2), "labels: {team: db}\n");
  world_.Add("other", Version(3), "labels: {team: ci}\n");
  world_.Publish();
  world_.MakeRunning("backfill_a");
  v1::ListRequest request;
  request.set_name_prefix("backfill");
  EXPECT_THAT(Names(List(request)), ElementsAre("backfill_a", "backfill_b"));
  (*request.mutable_labels())["team"] = "ci";
  EXPECT_THAT(Names(List(request)), ElementsAre("backfill_a"));
  request.add_states(v1::STATE_PENDING);
  EXPECT_THAT(Names(List(request)), IsEmpty());
  request.add_states(v1::STATE_RUNNING);
  EXPECT_THAT(Names(List(request)), ElementsAre("backfill_a"));
  request.set_target("another");
  EXPECT_THAT(Names(List(request)), IsEmpty());
}

TEST_F(ListTest, OrdersByVersionNameStateAndCreationBothWays) {
  world_.Add("b", Version(1));
  world_.store.Advance(absl::Seconds(1));
  world_.Add("a", Version(3));
  world_.store.Advance(absl::Seconds(1));
  world_.Add("c", Version(2));
  world_.Publish();
  world_.MakeRunning("b");
  v1::ListRequest request;
  EXPECT_THAT(Names(List(request)), ElementsAre("b", "c", "a"));
  request.set_order_by("version desc");
  EXPECT_THAT(Names(List(request)), ElementsAre("a", "c", "b"));
  request.set_order_by("name");
  EXPECT_THAT(Names(List(request)), ElementsAre("a", "b", "c"));
  request.set_order_by("created_at");
  EXPECT_THAT(Names(List(request)), ElementsAre("b", "a", "c"));
  request.set_order_by("state");
  EXPECT_THAT(Names(List(request)), ElementsAre("c", "a", "b"));
}

TEST_F(ListTest, PagesStayStableWhileMigrationsComeAndGo) {
  for (int i = 10; i < 20; ++i) world_.Add(absl::StrCat("m", i), Version(i));
  v1::ListRequest request;
  request.set_page_size(3);
  std::vector<std::string> seen;
  bool changed = false;
  do {
    const v1::ListResponse page = List(request);
    for (const std::string& name : Names(page)) seen.push_back(name);
    request.set_page_token(page.next_page_token());
    if (!changed) {
      // Behind the reader, in front of it, and one that is gone.
      world_.Add("early", Version(1));
      world_.Add("late", Version(30));
      MD_ASSERT_OK_AND_ASSIGN(const BoardEntry gone, Resolve(*world_.board.Get(), "m12"));
      world_.board.Remove(gone.stored.migration.id);
      changed = true;
    }
  } while (!request.page_token().empty());
  EXPECT_THAT(seen, ElementsAre("m10", "m11", "m12", "m13", "m14", "m15", "m16", "m17", "m18", "m19", "late"));
}

TEST_F(ListTest, ALastFullPageHasNoToken) {
  for (int i = 10; i < 14; ++i) world_.Add(absl::StrCat("m", i), Version(i));
  v1::ListRequest request;
  request.set_page_size(4);
  EXPECT_EQ(List(request).next_page_token(), "");
  request.set_page_size(3);
  EXPECT_NE(List(request).next_page_token(), "");
}

TEST_F(ListTest, ATokenOfAnotherQueryOrADamagedOneIsRefused) {
  for (int i = 10; i < 14; ++i) world_.Add(absl::StrCat("m", i), Version(i));
  v1::ListRequest request;
  request.set_page_size(2);
  request.set_page_token(List(request).next_page_token());
  request.set_page_size(1);
  EXPECT_THAT(Names(List(request)), ElementsAre("m12")) << "the size of a page may change";
  request.set_order_by("name");
  EXPECT_THAT(Call(world_, &Stub::List, request).first,
              GrpcStatusIs(grpc::StatusCode::INVALID_ARGUMENT, "REQUEST_INVALID", HasSubstr("another query")));
  for (const char* damaged : {"x", "AAAA", "%%%"}) {
    request.set_page_token(damaged);
    EXPECT_EQ(Call(world_, &Stub::List, request).first.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << damaged;
  }
}

TEST_F(ListTest, RefusesUnknownOrdersStatesAndSizes) {
  v1::ListRequest order;
  order.set_order_by("rows");
  EXPECT_THAT(Call(world_, &Stub::List, order).first,
              GrpcStatusIs(grpc::StatusCode::INVALID_ARGUMENT, "REQUEST_INVALID", HasSubstr("created_at")));
  v1::ListRequest state;
  state.add_states(static_cast<v1::State>(99));
  EXPECT_EQ(Call(world_, &Stub::List, state).first.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  for (const int size : {-1, 1001}) {
    v1::ListRequest request;
    request.set_page_size(size);
    EXPECT_EQ(Call(world_, &Stub::List, request).first.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << size;
  }
}

TEST_F(ListTest, ShowsRefusedCatalogueFiles) {
  world_.board.Edit([](BoardSnapshot& snapshot) { snapshot.catalog_issues = {{"/catalog/x.yaml", "x.yaml:1:1: no"}}; });
  const v1::ListResponse response = List({});
  ASSERT_THAT(response.catalog_problems(), SizeIs(1));
  EXPECT_EQ(response.catalog_problems(0).file(), "/catalog/x.yaml");
}

TEST_F(ListTest, IsUnavailableUntilTheStoreWasRead) {
  world_.board.Edit([](BoardSnapshot& snapshot) { snapshot.loaded = false; });
  EXPECT_EQ(Call(world_, &Stub::List, v1::ListRequest()).first.error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST(PageTokenTest, TheSamePartsInOtherPlacesAreAnotherQuery) {
  const std::string token = EncodePageToken("a", "1");
  EXPECT_EQ(*DecodePageToken("a", token), "1");
  EXPECT_THAT(DecodePageToken("b", token), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("another query")));
}

}  // namespace
}  // namespace migrationd
