// A proxy before the test cluster that cuts a connection around one message, so that the client cannot know its
// outcome.
#pragma once

#include <atomic>
#include <string>
#include <thread>
#include <vector>

namespace migrationd {

// Listens on a socket of its own while it lives. All methods: any thread.
class AnswerCutter {
 public:
  enum class Cut {
    kNothing,
    kRequest,  // the next message is thrown away
    kAnswer,   // the next message reaches the server, its answer is thrown away
  };

  AnswerCutter();
  ~AnswerCutter();
  AnswerCutter(const AnswerCutter&) = delete;
  AnswerCutter& operator=(const AnswerCutter&) = delete;

  // URL of the same database through the proxy.
  std::string UrlFor(const std::string& url) const;
  // What happens to the next message of any connection.
  void Arm(Cut cut) { armed_ = cut; }

 private:
  struct Pair {
    int client;
    int server;
    bool cutting = false;
  };
  void Run();
  void Accept();
  // False when the pair is over.
  bool FromClient(Pair& pair);
  bool FromServer(const Pair& pair);

  std::string directory_;
  int listener_ = -1;
  int stop_pipe_[2] = {-1, -1};
  std::atomic<Cut> armed_ = Cut::kNothing;
  std::vector<Pair> pairs_;  // of the thread
  std::thread thread_;
};

}  // namespace migrationd
