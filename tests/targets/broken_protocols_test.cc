// Protocols that look right and are not, run through the same schedules as ours. Each of them must double or skip rows
// somewhere: if one did not, the schedules would prove nothing of ours either.
#include <functional>
#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_postgres.h"
#include "tests/targets/target_fixture.h"

namespace migrationd {
namespace {

// How one owner does a sub-batch: where it stops is up to the schedule.
class Owner {
 public:
  virtual ~Owner() = default;
  // Becomes the owner; reads the cursor.
  virtual void TakeOver() = 0;
  // One sub-batch of ten rows at the cursor that it knows. Calls `pause` before its transaction ends, when everything
  // that this protocol does before its last write is done. False: refused, nothing committed.
  virtual bool Run(const std::function<void()>& pause) = 0;
};

constexpr char kMakeState[] =
    "CREATE TABLE state (epoch bigint, cursor bigint, saved_cursor bigint); INSERT INTO state VALUES (1, 0, 0)";

// What the broken ones share: one row of state, work by range.
class SqlOwner : public Owner {
 public:
  explicit SqlOwner(const std::string& url) : connection_(url) {}
  void TakeOver() override {
    pqxx::work work(connection_);
    const pqxx::row row = work.exec1("UPDATE state SET epoch = epoch + 1 RETURNING epoch, cursor");
    epoch_ = row[0].as<long>();
    cursor_ = row[1].as<long>();
    work.commit();
  }

 protected:
  void Work(pqxx::work& work) const {
    work.exec(absl::StrCat("UPDATE items SET n = n + 1 WHERE id > ", cursor_, " AND id <= ", cursor_ + 10));
  }
  pqxx::connection connection_;
  long epoch_ = 0;
  long cursor_ = 0;
};

// The owner holds a lease elsewhere; the cursor is saved after the work was committed.
class LeaseOnly : public SqlOwner {
 public:
  using SqlOwner::SqlOwner;
  bool Run(const std::function<void()>& pause) override {
    {
      pqxx::work work(connection_);
      Work(work);
      if (pause) pause();
      work.commit();
    }
    pqxx::work save(connection_);
    cursor_ += 10;
    save.exec(absl::StrCat("UPDATE state SET cursor = ", cursor_));
    save.commit();
    return true;
  }
};

// Work and cursor in one transaction, which reads the epoch, but does not lock it.
class PlainEpochCheck : public SqlOwner {
 public:
  using SqlOwner::SqlOwner;
  bool Run(const std::function<void()>& pause) override {
    pqxx::work work(connection_);
    Work(work);
    if (work.exec1("SELECT epoch FROM state")[0].as<long>() != epoch_) return false;
    if (pause) pause();
    work.exec(absl::StrCat("UPDATE state SET cursor = ", cursor_ + 10));
    work.commit();
    cursor_ += 10;
    return true;
  }
};

// A locked check of the epoch, but the cursor is set without looking at the old one.
class BlindCursor : public SqlOwner {
 public:
  using SqlOwner::SqlOwner;
  bool Run(const std::function<void()>& pause) override {
    pqxx::work work(connection_);
    Work(work);
    if (pause) pause();
    if (work.exec(absl::StrCat("UPDATE state SET cursor = ", cursor_ + 10, " WHERE epoch = ", epoch_))
            .affected_rows() != 1) {
      return false;
    }
    work.commit();
    cursor_ += 10;
    return true;
  }
};

// Everything right, except that a commit whose answer was lost is sent again.
class SentAgain : public SqlOwner {
 public:
  using SqlOwner::SqlOwner;
  bool Run(const std::function<void()>& pause) override {
    for (int i = 0; i < 2; ++i) {
      pqxx::work work(connection_);
      Work(work);
      if (pause && i == 0) pause();
      if (work.exec(absl::StrCat("UPDATE state SET cursor = ", cursor_ + 10, " WHERE epoch = ", epoch_))
              .affected_rows() != 1) {
        return false;
      }
      work.commit();
    }
    cursor_ += 10;
    return true;
  }
};

// Ours, stopped at the trigger after the work.
class CheckAndSet : public Owner {
 public:
  CheckAndSet(const std::string& url, const MigrationPlan& plan) : url_(url), target_(TargetAt(url)), plan_(plan) {}
  void TakeOver() override {
    auto taken = target_->TakeOver(Claiming(false));
    ASSERT_THAT(taken, IsOk());
    checkpoint_ = *std::move(taken);
    range_ = checkpoint_.lanes[0];
    auto session = target_->OpenLane(LaneOf(checkpoint_, plan_));
    ASSERT_THAT(session, IsOk());
    session_ = *std::move(session);
  }
  bool Run(const std::function<void()>& pause) override {
    if (!pause) return RunNext(*session_, range_, 10).ok();
    Roadblock after_work(url_, kAfterWork);
    bool done = false;
    std::thread worker([&] { done = RunNext(*session_, range_, 10).ok(); });
    EXPECT_TRUE(after_work.WaitForSomebody());
    pause();
    after_work.Open();
    worker.join();
    return done;
  }

 private:
  const std::string url_;
  std::unique_ptr<PostgresTarget> target_;
  const MigrationPlan& plan_;
  Checkpoint checkpoint_;
  LaneRange range_;
  std::unique_ptr<LaneSession> session_;
};

enum class Protocol { kLeaseOnly, kPlainEpochCheck, kBlindCursor, kSentAgain, kCheckAndSet };

class Schedules : public ItemsTest, public ::testing::WithParamInterface<Protocol> {
 protected:
  void SetUp() override {
    Begin(100);
    Sql(url_, kMakeState);
    if (GetParam() == Protocol::kCheckAndSet) InstallRoadblocks(url_);
  }

  std::unique_ptr<Owner> NewOwner() {
    switch (GetParam()) {
      case Protocol::kLeaseOnly:
        return std::make_unique<LeaseOnly>(url_);
      case Protocol::kPlainEpochCheck:
        return std::make_unique<PlainEpochCheck>(url_);
      case Protocol::kBlindCursor:
        return std::make_unique<BlindCursor>(url_);
      case Protocol::kSentAgain:
        return std::make_unique<SentAgain>(url_);
      case Protocol::kCheckAndSet:
        return std::make_unique<CheckAndSet>(url_, plan_);
    }
    return nullptr;
  }

  // To the end, by a last owner that nobody disturbs.
  std::string Finish(Owner& owner) {
    owner.TakeOver();
    for (int i = 0; i < 12 && Ask(url_, Done()) != "t"; ++i) owner.Run({});
    return Counts();
  }
  std::string Done() const {
    return GetParam() == Protocol::kCheckAndSet ? "SELECT cursor = upper_bound FROM migration_control.lane"
                                                : "SELECT cursor >= 100 FROM state";
  }

  // The owner stands still between the end of its work and its commit, another one takes over; then both go on.
  std::string StoppedBeforeItsCommit() {
    auto first = NewOwner();
    auto second = NewOwner();
    first->TakeOver();
    std::thread successor;
    first->Run([&] {
      second->TakeOver();
      // Waits for the first one's row locks, that is, for its end.
      successor = std::thread([&] { second->Run({}); });
      EXPECT_TRUE(
          WaitForTrue(url_, "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted)"));
    });
    successor.join();
    auto last = NewOwner();
    return Finish(*last);
  }

  // The owner sleeps before its sub-batch; another one does it; the first one wakes up.
  std::string AsleepBeforeItsSubBatch() {
    auto first = NewOwner();
    auto second = NewOwner();
    first->TakeOver();
    second->TakeOver();
    second->Run({});
    first->Run({});
    auto last = NewOwner();
    return Finish(*last);
  }

  // A failover loses the last three commits, rows and cursor together; the owner goes on from memory.
  std::string Rewound() {
    auto owner = NewOwner();
    owner->TakeOver();
    for (int i = 0; i < 5; ++i) owner->Run({});
    Sql(url_,
        "UPDATE items SET n = 0 WHERE id > 20; UPDATE state SET cursor = 20; UPDATE migration_control.lane SET cursor "
        "= '{20}', rows = 20");
    owner->Run({});
    auto last = NewOwner();
    return Finish(*last);
  }
};

TEST_P(Schedules, TellRightFromWrong) {
  const std::string right = "1:100";
  std::string wrong;
  const auto note = [&](const char* schedule, const std::string& counts) {
    if (counts != right) absl::StrAppend(&wrong, schedule, " gives ", counts, "; ");
  };
  note("stopped before its commit", StoppedBeforeItsCommit());
  SetUp();
  note("asleep before its sub-batch", AsleepBeforeItsSubBatch());
  SetUp();
  note("rewound", Rewound());
  if (GetParam() == Protocol::kCheckAndSet) {
    EXPECT_EQ(wrong, "");
  } else {
    EXPECT_NE(wrong, "") << "no schedule shows what is wrong with it";
  }
}

std::string ProtocolName(const ::testing::TestParamInfo<Protocol>& info) {
  constexpr const char* kNames[] = {"LeaseOnly", "PlainEpochCheck", "BlindCursor", "SentAgain", "CheckAndSet"};
  return kNames[static_cast<int>(info.param)];
}

INSTANTIATE_TEST_SUITE_P(All, Schedules,
                         ::testing::Values(Protocol::kLeaseOnly, Protocol::kPlainEpochCheck, Protocol::kBlindCursor,
                                           Protocol::kSentAgain, Protocol::kCheckAndSet),
                         ProtocolName);

}  // namespace
}  // namespace migrationd
