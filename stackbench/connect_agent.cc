#include "stackbench/connect_agent.h"

#include <utility>

namespace stackbench {
namespace {

// Of an agent that is reached by a program started in its container: a node that is busy, as with
// thousands of new policies, takes its time for that.
constexpr base::Duration greeting_patience = std::chrono::seconds(30);

}  // namespace

base::Result<bench::AgentClient> connect_agent(cluster::AgentStreams streams, std::string name,
                                               const base::Interrupt* interrupt,
                                               std::optional<bench::AgentPlan> plan) {
  bench::ConnectOptions options{.interrupt = interrupt,
                                .stderr_file = std::move(streams.errors),
                                .how_it_ended = std::move(streams.how_it_ended),
                                .plan = std::move(plan)};
  if (streams.reattach) {
    options.timeout = greeting_patience;
    options.reattach = [again = std::move(streams.reattach)]() -> base::Result<bench::AgentStream> {
      ASSIGN_OR_RETURN(auto others, again());
      return bench::AgentStream{.to_agent = std::move(others.to_agent),
                                .from_agent = std::move(others.from_agent),
                                .stderr_file = std::move(others.errors),
                                .how_it_ended = std::move(others.how_it_ended)};
    };
  }
  return bench::AgentClient::connect(std::move(streams.to_agent), std::move(streams.from_agent),
                                     std::move(name), std::move(options));
}

}  // namespace stackbench
