// bench_drive: one client or server job from the command line, for comparisons with other tools.
//   bench_drive server '{"kind":"tcp_rr","listen":["127.0.0.1:7001"]}'   until SIGINT or SIGTERM
//   bench_drive client '{"workload":{"kind":"tcp_rr"},"servers":["127.0.0.1:7001"]}'
// A server prints {"listening":[...]} once it accepts, both print their result as one line of JSON.
#include <cstdio>
#include <string_view>

#include "base/interrupt.h"
#include "base/json.h"
#include "bench/traffic.h"

namespace {

void print(const base::Json& json) {
  fmt::print("{}\n", base::dump_json(json));
  std::fflush(stdout);
}

base::Result<> drive(std::string_view role, std::string_view text, int stop_fd) {
  ASSIGN_OR_RETURN(const auto json, base::parse_json(text));
  if (role == "client") {
    ASSIGN_OR_RETURN(const auto job, base::from_json<bench::ClientJob>(json));
    ASSIGN_OR_RETURN(const auto result, bench::run_client(job, stop_fd));
    print(base::to_json(result));
    return {};
  }
  if (role == "server") {
    ASSIGN_OR_RETURN(const auto job, base::from_json<bench::ServerJob>(json));
    ASSIGN_OR_RETURN(const auto result, bench::run_server(job, stop_fd, [](const auto& endpoints) {
                       base::Json listening = base::Json::object();
                       listening["listening"] = base::to_json(endpoints);
                       print(listening);
                     }));
    print(base::to_json(result));
    return {};
  }
  return base::fail(base::ErrorKind::usage, "expected client or server, got \"{}\"", role);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    fmt::print(stderr, "usage: bench_drive client|server JOB\n");
    return 2;
  }
  auto interrupt = base::Interrupt::install();
  const auto outcome =
      interrupt ? drive(argv[1], argv[2], interrupt->fd()) : std::unexpected(interrupt.error());
  if (outcome) return 0;
  fmt::print(stderr, "bench_drive: {}\n", base::describe_error(outcome.error()));
  return outcome.error().kind == base::ErrorKind::workload ? 5 : 2;
}
