//! A network as a list of steps, each of which makes one tensor from earlier ones.

/// Which tensor: 0 is the network's input, and step `n` makes tensor `n + 1`.
pub(crate) type TensorId = usize;

/// What follows a convolution's sum, its bias and its residual.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum After {
    Nothing,
    Relu,
    Relu6,
}

/// A convolution, and what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Conv {
    /// Channels that it makes.
    pub(crate) out: usize,
    /// Height and width of the filter.
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) groups: usize,
    /// Whether a batch normalisation follows. For inference it is folded into weight and bias.
    pub(crate) norm: bool,
    /// What is added before the activation.
    pub(crate) residual: Option<TensorId>,
    pub(crate) after: After,
}

impl Conv {
    /// Stride 1, as much padding as keeps the image's size if the kernel is odd, no batch normalisation, and a ReLU.
    pub(crate) fn new(out: usize, kernel: usize) -> Self {
        let (padding, after) = (kernel / 2, After::Relu);
        Self { out, kernel, stride: 1, padding, groups: 1, norm: false, residual: None, after }
    }

    /// [`new`](Self::new) with a batch normalisation.
    pub(crate) fn normed(out: usize, kernel: usize) -> Self {
        Self { norm: true, ..Self::new(out, kernel) }
    }

    pub(crate) fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    pub(crate) fn padding(self, padding: usize) -> Self {
        Self { padding, ..self }
    }

    pub(crate) fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    pub(crate) fn residual(self, residual: TensorId) -> Self {
        Self { residual: Some(residual), ..self }
    }

    pub(crate) fn after(self, after: After) -> Self {
        Self { after, ..self }
    }
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Conv(Conv),
    /// A transposed convolution without padding whose kernel is its stride: each input makes a square of outputs.
    Up(Conv),
    /// The largest of each window.
    MaxPool {
        kernel: usize,
        stride: usize,
        padding: usize,
    },
    /// The mean of each channel.
    Mean,
    /// The channels of the input, then those of another tensor.
    Concat(TensorId),
}

impl Kind {
    /// The convolution, plain or transposed, of a step that is one.
    pub(crate) fn conv(&self) -> Option<&Conv> {
        match self {
            Self::Conv(conv) | Self::Up(conv) => Some(conv),
            Self::MaxPool { .. } | Self::Mean | Self::Concat(_) => None,
        }
    }

    /// What a step reads beside its input.
    pub(crate) fn also_reads(&self) -> Option<TensorId> {
        match self {
            Self::Concat(other) => Some(*other),
            _ => self.conv().and_then(|conv| conv.residual),
        }
    }
}

/// A step, where it reads, and what it is called.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) input: TensorId,
}

/// A network: its steps and the `[channels, height, width]` of each tensor.
#[derive(Debug, Clone)]
pub(crate) struct Graph {
    pub(crate) steps: Vec<Step>,
    pub(crate) sizes: Vec<[usize; 3]>,
}

impl Graph {
    /// Nothing but an input.
    pub(crate) fn new(input: [usize; 3]) -> Self {
        Self { steps: Vec::new(), sizes: vec![input] }
    }

    /// The tensor that the last step made.
    pub(crate) fn last(&self) -> TensorId {
        self.steps.len()
    }

    /// Channels of a tensor.
    pub(crate) fn channels(&self, tensor: TensorId) -> usize {
        self.sizes[tensor][0]
    }

    /// Adds a convolution of a tensor and returns what it makes.
    pub(crate) fn conv(&mut self, name: &str, input: TensorId, conv: Conv) -> TensorId {
        let [_, height, width] = self.sizes[input];
        let made = |size| outputs(size, conv.kernel, conv.stride, conv.padding);
        self.add(name, Kind::Conv(conv), input, [conv.out, made(height), made(width)])
    }

    /// Adds a transposed convolution that makes the image `times` as high and as wide.
    pub(crate) fn up(&mut self, name: &str, input: TensorId, out: usize, times: usize) -> TensorId {
        let [_, height, width] = self.sizes[input];
        let conv = Conv::new(out, times).stride(times).padding(0).after(After::Nothing);
        self.add(name, Kind::Up(conv), input, [out, height * times, width * times])
    }

    /// Adds the channels of two tensors, one after the other.
    pub(crate) fn concat(&mut self, name: &str, [first, second]: [TensorId; 2]) -> TensorId {
        let [channels, height, width] = self.sizes[first];
        let size = [channels + self.channels(second), height, width];
        self.add(name, Kind::Concat(second), first, size)
    }

    /// Adds a pooling of a tensor.
    pub(crate) fn max_pool(
        &mut self,
        input: TensorId,
        [kernel, stride, padding]: [usize; 3],
    ) -> TensorId {
        let [channels, height, width] = self.sizes[input];
        let made = |size| outputs(size, kernel, stride, padding);
        let kind = Kind::MaxPool { kernel, stride, padding };
        self.add("pool", kind, input, [channels, made(height), made(width)])
    }

    /// Adds the mean of each channel.
    pub(crate) fn mean(&mut self, input: TensorId) -> TensorId {
        let channels = self.channels(input);
        self.add("mean", Kind::Mean, input, [channels, 1, 1])
    }

    fn add(&mut self, name: &str, kind: Kind, input: TensorId, size: [usize; 3]) -> TensorId {
        self.steps.push(Step { name: name.to_owned(), kind, input });
        self.sizes.push(size);
        self.last()
    }

    /// For each tensor the last step that reads it; its own maker if none does.
    pub(crate) fn last_uses(&self) -> Vec<usize> {
        let mut last: Vec<usize> = (0..self.sizes.len()).map(|t| t.saturating_sub(1)).collect();
        for (n, step) in self.steps.iter().enumerate() {
            last[step.input] = n;
            if let Some(other) = step.kind.also_reads() {
                last[other] = n;
            }
        }
        last
    }
}

fn outputs(size: usize, kernel: usize, stride: usize, padding: usize) -> usize {
    (size + 2 * padding - kernel) / stride + 1
}
