// That the preset `tsan` reports what is wrong under Abseil's locks, and only that.
#include <atomic>
#include <cstdlib>
#include <functional>
#include <thread>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace migrationd {
namespace {

void RunBoth(const std::function<void()>& one, const std::function<void()>& other) {
  std::thread thread(one);
  other();
  thread.join();
}

// `one` runs before `other`, and nothing that the sanitizer could know orders them.
void RunInTurn(const std::function<void()>& one, const std::function<void()>& other) {
  std::atomic<bool> over = false;
  RunBoth(
      [&] {
        one();
        over.store(true, std::memory_order_relaxed);
      },
      [&] {
        while (!over.load(std::memory_order_relaxed)) std::this_thread::yield();
        other();
      });
}

class TsanReportTest : public testing::Test {
 protected:
  // The child would otherwise be a fork of a process with threads, the sanitizer's.
  TsanReportTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }

  absl::Mutex mutex_;
  absl::Mutex other_mutex_;
  int value_ = 0;

  void Guarded() {
    absl::MutexLock lock(&mutex_);
    ++value_;
  }
};

// The sanitizer's status, whether it ends the program at the first report or at the end.
constexpr int kReported = 66;

TEST_F(TsanReportTest, AnAccessWithoutTheMutex) {
  EXPECT_EXIT(
      {
        RunInTurn([this] { Guarded(); }, [this] { ++value_; });
        std::exit(0);
      },
      testing::ExitedWithCode(kReported), "data race");
}

TEST_F(TsanReportTest, AnAccessUnderAnotherMutex) {
  EXPECT_EXIT(
      {
        RunInTurn([this] { Guarded(); },
                  [this] {
                    absl::MutexLock lock(&other_mutex_);
                    ++value_;
                  });
        std::exit(0);
      },
      testing::ExitedWithCode(kReported), "data race");
}

TEST_F(TsanReportTest, AConditionThatReadsWhatIsWrittenWithoutTheMutex) {
  EXPECT_EXIT(
      {
        RunInTurn([this] { ++value_; },
                  [this] {
                    const auto written = [this] { return value_ == 1; };
                    absl::MutexLock lock(&mutex_, absl::Condition(&written));
                  });
        std::exit(0);
      },
      testing::ExitedWithCode(kReported), "data race");
}

TEST_F(TsanReportTest, MutexesTakenInDifferentOrders) {
  EXPECT_EXIT(
      {
        RunInTurn(
            [this] {
              absl::MutexLock lock(&mutex_);
              absl::MutexLock inner(&other_mutex_);
            },
            [this] {
              absl::MutexLock lock(&other_mutex_);
              absl::MutexLock inner(&mutex_);
            });
        std::exit(0);
      },
      testing::ExitedWithCode(kReported), "lock-order-inversion");
}

// Each of these ends this program with kReported where the sanitizer does not know the order.
constexpr int kRounds = 1000;

TEST(TsanSilenceTest, UnderTheMutex) {
  absl::Mutex mutex;
  int value = 0;
  const auto add = [&] {
    for (int i = 0; i < kRounds; ++i) {
      absl::MutexLock lock(&mutex);
      ++value;
    }
  };
  const auto try_to_add = [&] {
    for (int i = 0; i < kRounds; ++i) {
      if (!mutex.TryLock()) continue;
      ++value;
      mutex.Unlock();
    }
  };
  RunBoth(add, try_to_add);
}

TEST(TsanSilenceTest, ReadersAndAWriter) {
  absl::Mutex mutex;
  int value = 0;
  const auto is_even = [&] { return value % 2 == 0; };
  RunBoth(
      [&] {
        for (int i = 0; i < kRounds; ++i) {
          absl::WriterMutexLock lock(&mutex);
          value += 2;
        }
      },
      [&] {
        for (int i = 0; i < kRounds; ++i) {
          absl::ReaderMutexLock lock(&mutex);
          EXPECT_EQ(value % 2, 0);
        }
        absl::ReaderMutexLock lock(&mutex, absl::Condition(&is_even));
      });
}

// Each waits for the other, so each evaluates the condition of the other when it unlocks.
TEST(TsanSilenceTest, ConditionsOfAMutex) {
  absl::Mutex mutex;
  int value = 0;
  const auto even = [&] { return value % 2 == 0; };
  const auto odd = [&] { return value % 2 == 1; };
  RunBoth(
      [&] {
        for (int i = 0; i < kRounds; ++i) {
          absl::MutexLock lock(&mutex, absl::Condition(&even));
          ++value;
        }
      },
      [&] {
        for (int i = 0; i < kRounds; ++i) {
          absl::MutexLock lock(&mutex);
          if (i % 3 == 0) {
            mutex.Await(absl::Condition(&odd));
          } else if (i % 3 == 1) {
            while (!mutex.AwaitWithTimeout(absl::Condition(&odd), absl::Microseconds(10))) {
            }
          } else {
            mutex.AwaitWithDeadline(absl::Condition(&odd), absl::InfiniteFuture());
          }
          ++value;
        }
      });
  EXPECT_EQ(value, 2 * kRounds);
}

TEST(TsanSilenceTest, CondVar) {
  absl::Mutex mutex;
  absl::CondVar changed;
  int value = 0;
  const auto take_turns = [&](int remainder) {
    for (int i = 0; i < kRounds; ++i) {
      absl::MutexLock lock(&mutex);
      while (value % 2 != remainder) {
        if (i % 2 == 0) {
          changed.Wait(&mutex);
        } else {
          changed.WaitWithTimeout(&mutex, absl::Milliseconds(1));
        }
      }
      ++value;
      changed.Signal();
    }
  };
  RunBoth([&] { take_turns(0); }, [&] { take_turns(1); });
  EXPECT_EQ(value, 2 * kRounds);
}

TEST(TsanSilenceTest, Notification) {
  for (int i = 0; i < kRounds / 10; ++i) {
    absl::Notification written;
    int value = 0;
    RunBoth(
        [&] {
          value = i;
          written.Notify();
        },
        [&] {
          if (i % 3 == 0) {
            written.WaitForNotification();
          } else if (i % 3 == 1) {
            while (!written.HasBeenNotified()) std::this_thread::yield();
          } else {
            while (!written.WaitForNotificationWithTimeout(absl::Microseconds(1))) {
            }
          }
          EXPECT_EQ(value, i);
        });
  }
}

TEST(TsanSilenceTest, BlockingCounter) {
  for (int i = 0; i < kRounds / 10; ++i) {
    absl::BlockingCounter left(2);
    int one = 0;
    int other = 0;
    std::thread first([&] {
      one = i;
      left.DecrementCount();
    });
    std::thread second([&] {
      other = i;
      left.DecrementCount();
    });
    left.Wait();
    EXPECT_EQ(one, other);
    first.join();
    second.join();
  }
}

}  // namespace
}  // namespace migrationd
