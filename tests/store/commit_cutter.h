// A proxy before the test cluster that, when armed, lets one COMMIT through and cuts the connection instead of passing
// on its answer: the transaction is committed, and the client cannot know.
#pragma once

#include <atomic>
#include <string>
#include <thread>
#include <vector>

namespace migrationd {

// Listens on a socket of its own while it lives. Arm, fired and url: any thread.
class CommitCutter {
 public:
  CommitCutter();
  ~CommitCutter();
  CommitCutter(const CommitCutter&) = delete;
  CommitCutter& operator=(const CommitCutter&) = delete;

  // URL of `database` (its name) through the proxy.
  std::string Url(const std::string& database) const;
  // The next COMMIT is cut.
  void Arm() { armed_ = true; }
  // How many were cut.
  int fired() const { return fired_; }

 private:
  struct Pair {
    int client;
    int server;
    bool cut = false;  // the answer of the server is thrown away, then both are closed
  };
  void Run();
  void Accept();
  // False when the pair is over.
  bool FromClient(Pair& pair);
  bool FromServer(Pair& pair);

  std::string directory_;
  int listener_ = -1;
  int stop_pipe_[2] = {-1, -1};
  std::atomic<bool> armed_ = false;
  std::atomic<int> fired_ = 0;
  std::vector<Pair> pairs_;  // of the thread
  std::thread thread_;
};

}  // namespace migrationd
