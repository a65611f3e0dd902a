// What the files that speak gRPC share: a connection, its calls, and what their failures mean. Of
// this library alone: gRPC's headers are behind it.
#pragma once

#include <thread>

#include <grpcpp/grpcpp.h>

#include "bgp-peer/client.h"
#include "gobgp.grpc.pb.h"

namespace bgp_peer {

using Stub = apipb::GobgpApi::Stub;

// What a call's failure means. `connected`: whether the daemon has answered before.
[[nodiscard]] base::Error error_of(const grpc::Status& status, const std::string& address,
                                   bool connected);

[[nodiscard]] std::chrono::system_clock::time_point due(base::Duration deadline);

// Ends a call when a descriptor becomes readable before this goes; -1: none does.
class Interruptible {
 public:
  Interruptible(grpc::ClientContext& context, int interrupt_fd);
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;
  ~Interruptible();

 private:
  base::UniqueFd done_;
  std::thread waiting_;
};

struct Client::State {
  std::string address;
  base::Duration deadline;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<Stub> stub;
  int interrupt_fd = -1;
  bool connected = false;

  [[nodiscard]] std::unexpected<base::Error> failed(const grpc::Status& status) const {
    return std::unexpected(error_of(status, address, connected));
  }

  // One question, one answer.
  template <typename Request, typename Reply>
  base::Result<Reply> call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                        Reply*),
                           const Request& request) const {
    grpc::ClientContext context;
    context.set_deadline(due(deadline));
    const Interruptible interruptible(context, interrupt_fd);
    Reply reply;
    const auto status = (stub.get()->*method)(&context, request, &reply);
    if (!status.ok()) return failed(status);
    return reply;
  }

  // The same when the answer says nothing.
  template <typename Request>
  base::Result<> tell(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                   google::protobuf::Empty*),
                      const Request& request) const {
    RETURN_IF_ERROR(call(method, request));
    return {};
  }

  // One question, a list of answers, each given to `take`.
  template <typename Reply, typename Open, typename Take>
  base::Result<> list(const Open& open, const Take& take) const {
    grpc::ClientContext context;
    context.set_deadline(due(deadline));
    const Interruptible interruptible(context, interrupt_fd);
    const std::unique_ptr<grpc::ClientReader<Reply>> reader = open(context);
    Reply reply;
    base::Result<> outcome;
    while (outcome && reader->Read(&reply)) outcome = take(reply);
    if (!outcome) context.TryCancel();
    const auto status = reader->Finish();
    RETURN_IF_ERROR(outcome);
    if (!status.ok()) return failed(status);
    return {};
  }
};

}  // namespace bgp_peer
