// Counts what training on a mesh sends, between threads of this process that act as ranks.
#include "trainer/parallel/data_parallel.h"

#include <gtest/gtest.h>

#include <thread>

#include "kernels/comm/rendezvous/rendezvous.h"
#include "kernels/comm/rendezvous/socket.h"
#include "tests/trainer/tiny_model.h"
#include "trainer/loop/train_step.h"

namespace wyvern {
namespace {

constexpr int kRanks = 2;

// Counts what its rank sends.
class CountingTransport : public Transport {
 public:
  CountingTransport(std::unique_ptr<Transport> transport, int64_t* bytes)
      : transport_(std::move(transport)), bytes_(bytes) {}
  void Exchange(const Message& send, const Message& receive, const std::string& what) override {
    *bytes_ += static_cast<int64_t>(send.num_bytes);
    transport_->Exchange(send, receive, what);
  }
  void Post(const Message& message, const std::string& what) override {
    *bytes_ += static_cast<int64_t>(message.num_bytes);
    transport_->Post(message, what);
  }
  bool Take(const Message& message, bool wait, const std::string& what) override {
    return transport_->Take(message, wait, what);
  }
  int rank() const override { return transport_->rank(); }
  int size() const override { return transport_->size(); }

 private:
  std::unique_ptr<Transport> transport_;
  int64_t* bytes_;
};

Batch MakeBatch(int64_t number) {
  Batch batch{.cu_seqlens = {0, 8}};
  for (int32_t t = 0; t < 8; ++t) {
    batch.tokens.push_back(static_cast<int32_t>((number * 5 + t * 3) % 31));
    batch.targets.push_back(static_cast<int32_t>((number * 5 + t * 3 + 3) % 31));
  }
  return batch;
}

struct Sent {
  int64_t bytes = 0;           // by rank 0 in a step
  int64_t flat_bytes = 0;      // of all flat buffers
  int64_t gathered_bytes = 0;  // of those whose parameters a backward gathers
};

Sent OneStep(const MeshShape& shape, int stage, int64_t micro_batches) {
  const int port = Socket::Listen(0)->LocalPort();
  int64_t bytes[kRanks] = {};
  Sent sent;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < kRanks; ++rank) {
    threads.emplace_back([&, rank] {
      auto transport =
          MakeTcpTransport({.rank = rank, .size = kRanks, .address = "127.0.0.1", .port = port});
      ASSERT_TRUE(transport.ok()) << transport.status();
      World world(std::make_unique<CountingTransport>(*std::move(transport), &bytes[rank]));
      auto mesh = Mesh::Create(&world, shape, Device::kCpu);
      ASSERT_TRUE(mesh.ok()) << mesh.status();
      const auto model = Model::Create(TinyConfig(31), Device::kCpu, DType::kFloat32,
                                       /*trainable=*/true, (*mesh)->LayoutAt(stage));
      DataParallel parallel(model.get(), mesh->get());
      Optimizer optimizer(model.get(), {});
      model->Initialize(1);
      std::vector<Batch> batches;
      for (int64_t i = 0; i < micro_batches; ++i) batches.push_back(MakeBatch(2 * i + rank));
      bytes[rank] = 0;
      EXPECT_TRUE(TrainStep(model.get(), &optimizer, batches, 1e-3, 1.0, 1, &parallel).updated);
      if (rank != 0) return;
      sent.bytes = bytes[0];
      for (size_t unit = 0; unit < model->units().size(); ++unit) {
        for (const FlatParameters* flat : model->units()[unit].flats()) {
          sent.flat_bytes += flat->num_elements() * 4;
          const bool inner = unit > 0 && unit + 1 < model->units().size();
          if (inner) sent.gathered_bytes += flat->num_elements() * 4;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return sent;
}

// Loss, norm and number of targets.
constexpr int64_t kSmall = 256;

TEST(DataParallel, SendsWhatItMust) {
  for (const int64_t micro_batches : {1, 3}) {
    SCOPED_TRACE(micro_batches);
    // Each of two ranks sends the half that it does not reduce, and then the half that it did; once
    // a step, whatever the number of micro batches.
    const Sent replicate = OneStep({2, 1}, 1, micro_batches);
    EXPECT_NEAR(replicate.bytes, replicate.flat_bytes, kSmall);
    // The same with the update between the two.
    const Sent first = OneStep({1, 2}, 1, micro_batches);
    EXPECT_NEAR(first.bytes, first.flat_bytes, kSmall);
    // Each micro batch reduces gradients.
    const Sent second = OneStep({1, 2}, 2, micro_batches);
    EXPECT_NEAR(second.bytes, (micro_batches + 1) * second.flat_bytes / 2, kSmall);
    // And gathers parameters for its forward, and for its backward but for the embedding, whose
    // gradient does not need them, and for the head, which stays whole in between.
    const Sent third = OneStep({1, 2}, 3, micro_batches);
    const int64_t expected = micro_batches * (2 * third.flat_bytes + third.gathered_bytes) / 2;
    EXPECT_NEAR(third.bytes, expected, kSmall);
  }
}

}  // namespace
}  // namespace wyvern
