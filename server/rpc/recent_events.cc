#include "server/rpc/recent_events.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace migrationd {
namespace {

// Not read again sooner.
constexpr absl::Duration kFresh = absl::Seconds(1);
// Answered with, while it is being read again.
constexpr absl::Duration kUsable = absl::Seconds(5);
constexpr std::size_t kEntriesMax = 1000;
constexpr std::size_t kWaitersMax = 1000;

}  // namespace

RecentEvents::RecentEvents(Fetch fetch, Clock& clock) : fetch_(std::move(fetch)), clock_(clock) {
  fetcher_ = std::thread([this] { FetchLoop(); });
  expirer_ = std::thread([this] { ExpireLoop(); });
}

RecentEvents::~RecentEvents() { Stop(); }

void RecentEvents::Get(const Migration& migration, Answer answer) {
  std::shared_ptr<const Events> known;
  {
    absl::MutexLock lock(&mutex_);
    const std::int64_t id = migration.id.value;
    const absl::Time now = clock_.Now();
    known = Known(id);
    const auto entry = entries_.find(id);
    const bool current = entry != entries_.end() && entry->second.revision >= migration.revision;
    const absl::Duration age = entry == entries_.end() ? absl::InfiniteDuration() : now - entry->second.read_at;
    if (!stopping_ && !(current && age <= kFresh)) {
      Want(migration);
      if (!(current && age <= kUsable) && waiters_.size() < kWaitersMax) {
        waiters_.push_back({id, migration.revision, now + kLongestWait, std::move(answer)});
        return;
      }
    }
  }
  answer(known);
}

void RecentEvents::Want(const Migration& migration) {
  Wanted& wanted = wanted_[migration.id.value];
  if (wanted.full_name.empty()) queue_.push_back(migration.id.value);
  wanted = {absl::StrCat(migration.target, "/", migration.name), migration.revision};
}

std::shared_ptr<const RecentEvents::Events> RecentEvents::Known(std::int64_t id) const {
  const auto entry = entries_.find(id);
  return entry == entries_.end() ? none_ : entry->second.events;
}

void RecentEvents::Keep(std::int64_t id, Entry entry) {
  entries_[id] = std::move(entry);
  if (entries_.size() <= kEntriesMax) return;
  entries_.erase(std::min_element(entries_.begin(), entries_.end(),
                                  [](const auto& a, const auto& b) { return a.second.read_at < b.second.read_at; }));
}

std::vector<std::function<void()>> RecentEvents::TakeWaiters(const std::function<bool(const Waiter&)>& chosen) {
  std::vector<std::function<void()>> answers;
  for (auto waiter = waiters_.begin(); waiter != waiters_.end();) {
    if (!chosen(*waiter)) {
      ++waiter;
      continue;
    }
    answers.push_back([answer = std::move(waiter->answer), events = Known(waiter->id)] { answer(events); });
    waiter = waiters_.erase(waiter);
  }
  return answers;
}

void RecentEvents::FetchLoop() {
  const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !queue_.empty(); };
  while (true) {
    std::int64_t id = 0;
    Wanted wanted;
    {
      absl::MutexLock lock(&mutex_, absl::Condition(&ready));
      if (stopping_) return;
      id = queue_.front();
      queue_.pop_front();
      wanted = wanted_[id];
      wanted_.erase(id);
    }
    auto events = fetch_(wanted.full_name);
    std::vector<std::function<void()>> answers;
    {
      absl::MutexLock lock(&mutex_);
      const bool ok = events.ok();
      if (ok) Keep(id, {std::make_shared<const Events>(*std::move(events)), wanted.revision, clock_.Now()});
      // Who wants a newer revision than was asked for waits for the next reading.
      answers = TakeWaiters(
          [&](const Waiter& waiter) { return waiter.id == id && (!ok || waiter.revision <= wanted.revision); });
    }
    for (const auto& answer : answers) answer();
  }
}

void RecentEvents::ExpireLoop() {
  const auto waited_for = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !waiters_.empty(); };
  while (true) {
    std::vector<std::function<void()>> answers;
    {
      absl::MutexLock lock(&mutex_, absl::Condition(&waited_for));
      if (stopping_) return;
      mutex_.AwaitWithTimeout(absl::Condition(&stopping_), waiters_.front().deadline - clock_.Now());
      const absl::Time now = clock_.Now();
      answers = TakeWaiters([now](const Waiter& waiter) { return waiter.deadline <= now; });
    }
    for (const auto& answer : answers) answer();
  }
}

void RecentEvents::Stop() {
  std::vector<std::function<void()>> answers;
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    answers = TakeWaiters([](const Waiter&) { return true; });
  }
  for (const auto& answer : answers) answer();
  if (fetcher_.joinable()) fetcher_.join();
  if (expirer_.joinable()) expirer_.join();
}

}  // namespace migrationd
