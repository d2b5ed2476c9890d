// Latency of Status, one call after the other over one channel: p50, p99, maximum. Run it against a server with migrations at work.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "migrationcontrol/client.h"
#include "server/clock.h"

int main(int argc, char** argv) {
  std::string server = "127.0.0.1:50051";
  std::vector<std::string> migrations;
  int calls = 5000;
  CLI::App app{"Latency of Status"};
  app.add_option("--server", server, "address of migrationd");
  app.add_option("--calls", calls, "how many")->check(CLI::Range(1, 10'000'000));
  app.add_option("migration", migrations, "asked for in turn")->required();
  CLI11_PARSE(app, argc, argv);

  migrationcontrol::ClientOptions options;
  options.address = server;
  migrationcontrol::Client client(options);
  std::vector<double> milliseconds;
  int working = 0;
  for (int i = 0; i < calls; ++i) {
    const absl::Time begun = migrationd::Clock::Real().Now();
    const auto status = client.Status(migrations[static_cast<std::size_t>(i) % migrations.size()]);
    milliseconds.push_back(absl::ToDoubleMilliseconds(migrationd::Clock::Real().Now() - begun));
    if (!status.ok()) {
      std::fprintf(stderr, "%s\n", status.status().ToString().c_str());
      return 1;
    }
    if (status->migration().state() == migrationcontrol::v1::STATE_RUNNING) ++working;
  }
  std::sort(milliseconds.begin(), milliseconds.end());
  const auto at = [&](double share) { return milliseconds[static_cast<std::size_t>(share * static_cast<double>(milliseconds.size() - 1))]; };
  absl::PrintF("%d calls, %d answered RUNNING: p50 %.3f ms, p90 %.3f ms, p99 %.3f ms, max %.3f ms\n", calls, working, at(0.5), at(0.9), at(0.99), at(1));
  return 0;
}
