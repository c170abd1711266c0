/** The DOM calls it so, and structured-headers takes it for granted. Not part of what is published. */
type BufferSource = ArrayBufferView | ArrayBuffer;
