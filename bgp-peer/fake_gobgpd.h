// A gobgpd that says what a test wants, on a unix socket: for what a real one cannot be brought to
// do at a given moment. Only tests include it: gRPC's headers are behind it.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <thread>

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/testing/lab.h"
#include "gobgp.grpc.pb.h"

namespace bgp_peer::testing {

inline std::string socket_path(std::string_view name) {
  return fmt::format("{}/bgp-{}-{}", ::testing::TempDir(), ::getpid(), name);
}

// Its one neighbour is 10.0.0.1. Calls come from threads of gRPC's.
class FakeGobgpd final : public apipb::GobgpApi::Service {
 public:
  using Writer = grpc::ServerWriter<apipb::WatchEventResponse>;

  // `script` writes what a watch is told after its beginning; the stream stays open then.
  explicit FakeGobgpd(std::string_view name, std::function<void(Writer&)> script = {})
      : path_(socket_path(name)), script_(std::move(script)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address(), grpc::InsecureServerCredentials());
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  FakeGobgpd(const FakeGobgpd&) = delete;
  FakeGobgpd& operator=(const FakeGobgpd&) = delete;
  ~FakeGobgpd() override {
    end();
    std::filesystem::remove(path_);
  }

  [[nodiscard]] std::string address() const { return "unix:" + path_; }
  // Ends every stream, and answers nobody any more.
  void end() {
    over = true;
    server_->Shutdown(std::chrono::system_clock::now());
  }

  std::atomic<bool> started = true;       // whether BGP has been
  std::atomic<bool> silent = false;       // takes calls and does not answer
  std::atomic<bool> begins = true;        // tells a watch that it has begun
  std::atomic<int> asked = 0;             // how many calls came, but watches
  std::atomic<bool> told_all = false;     // the script is at its end
  std::atomic<bool> watch_ended = false;  // by the client
  std::atomic<bool> over = false;

  grpc::Status GetBgp(grpc::ServerContext* context, const apipb::GetBgpRequest*,
                      apipb::GetBgpResponse* reply) override {
    if (started) {
      reply->mutable_global()->set_asn(64513);
      reply->mutable_global()->set_router_id("172.18.0.1");
    }
    return answer(*context);
  }
  grpc::Status ListPeer(grpc::ServerContext* context, const apipb::ListPeerRequest*,
                        grpc::ServerWriter<apipb::ListPeerResponse>* writer) override {
    apipb::ListPeerResponse reply;
    reply.mutable_peer()->mutable_state()->set_neighbor_address("10.0.0.1");
    writer->Write(reply);
    return answer(*context);
  }
  grpc::Status WatchEvent(grpc::ServerContext* context, const apipb::WatchEventRequest*,
                          Writer* writer) override {
    if (begins) {
      apipb::WatchEventResponse begun;
      begun.mutable_peer()->set_type(apipb::WatchEventResponse::PeerEvent::END_OF_INIT);
      writer->Write(begun);
    }
    if (script_) script_(*writer);
    told_all = true;
    wait_while(*context, [] { return true; });
    watch_ended = context->IsCancelled();
    return grpc::Status::OK;
  }

 private:
  void wait_while(const grpc::ServerContext& context, const std::function<bool()>& holds) const {
    (void)base::testing::eventually([&] { return over || context.IsCancelled() || !holds(); },
                                    std::chrono::seconds(60));
  }
  grpc::Status answer(const grpc::ServerContext& context) {
    ++asked;
    wait_while(context, [this] { return silent.load(); });
    return grpc::Status::OK;
  }

  std::string path_;
  std::function<void(Writer&)> script_;
  std::unique_ptr<grpc::Server> server_;
};

// A gRPC server with other services, as GoBGP 4 is.
class OtherServer {
 public:
  explicit OtherServer(std::string_view name) : path_(socket_path(name)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address(), grpc::InsecureServerCredentials());
    queue_ = builder.AddCompletionQueue();
    server_ = builder.BuildAndStart();
    serving_ = std::thread([this] {
      void* tag = nullptr;
      bool ok = false;
      while (queue_->Next(&tag, &ok)) {
      }
    });
  }
  OtherServer(const OtherServer&) = delete;
  OtherServer& operator=(const OtherServer&) = delete;
  ~OtherServer() {
    server_->Shutdown();
    queue_->Shutdown();
    serving_.join();
    std::filesystem::remove(path_);
  }

  [[nodiscard]] std::string address() const { return "unix:" + path_; }

 private:
  std::string path_;
  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::unique_ptr<grpc::Server> server_;
  std::thread serving_;
};

// A session event; `filler` bytes of it are of no use.
inline apipb::WatchEventResponse session_message(std::string_view neighbor, bool up,
                                                 std::size_t filler = 0) {
  apipb::WatchEventResponse message;
  message.mutable_peer()->set_type(apipb::WatchEventResponse::PeerEvent::STATE);
  auto& state = *message.mutable_peer()->mutable_peer()->mutable_state();
  state.set_neighbor_address(std::string(neighbor));
  state.set_session_state(up ? apipb::PeerState::ESTABLISHED : apipb::PeerState::IDLE);
  state.set_router_id(std::string(filler, 'x'));
  return message;
}

}  // namespace bgp_peer::testing
